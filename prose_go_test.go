package sublet

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// checkGo returns what is wrong with the names and comments of one Go file.
// name is its path below the top of the module, in slashes.
func checkGo(name string, source []byte) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("cannot parse %s: %w", name, err)
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	var offences []string
	report := func(at token.Pos, messages ...string) {
		for _, message := range messages {
			offences = append(offences, fmt.Sprintf("%s: %s", files.Position(at), message))
		}
	}
	if better, ok := outdatedFiles[name]; ok {
		report(file.Package, "name the file "+better)
	}
	for _, comment := range file.Comments {
		report(comment.Pos(), checkText(paragraphsOf(comment.Text()))...)
	}
	test := strings.HasSuffix(name, "_test.go")
	ast.Inspect(file, func(node ast.Node) bool {
		if _, ok := node.(*ast.BasicLit); ok && test {
			return false
		}
		for _, declared := range declaredNames(node) {
			report(declared.Pos(), checkName(path.Dir(name), declared.Name)...)
		}
		if at, message := checkNode(node); message != "" {
			report(at, message)
		}
		return true
	})
	return offences, nil
}

// checkNode returns what is wrong with the name or the comment of a declaration.
// It returns an empty message for a node that is right or declares nothing.
func checkNode(node ast.Node) (token.Pos, string) {
	switch node := node.(type) {
	case *ast.FuncDecl:
		if slices.Contains(outdatedNames, node.Name.Name) {
			return node.Pos(), node.Name.Name + ": name what this function does, and to what"
		}
		return node.Pos(), checkFuncComment(node.Name.Name, node.Doc.Text())
	case *ast.TypeSpec:
		if slices.Contains(outdatedNames, node.Name.Name) {
			return node.Pos(), node.Name.Name + ": name the thing that this type is"
		}
	case *ast.AssignStmt:
		if name := outdatedClosure(node); name != "" {
			return node.Pos(), name + ": name what this function does, and to what"
		}
	case *ast.BasicLit:
		if node.Kind == token.STRING {
			return node.Pos(), strings.Join(checkMessage(node.Value), "\n")
		}
	case *ast.InterfaceType:
		for _, method := range node.Methods.List {
			if len(method.Names) == 0 {
				continue
			}
			if message := checkFuncComment(method.Names[0].Name, method.Doc.Text()); message != "" {
				return method.Pos(), message
			}
		}
	}
	return token.NoPos, ""
}

// outdatedClosure returns the name of a function that an assignment declares, if it is outdated.
func outdatedClosure(assign *ast.AssignStmt) string {
	if len(assign.Lhs) != len(assign.Rhs) {
		return ""
	}
	for i, name := range namesOf(assign.Tok, assign.Lhs...) {
		if _, ok := assign.Rhs[i].(*ast.FuncLit); ok && slices.Contains(outdatedNames, name.Name) {
			return name.Name
		}
	}
	return ""
}

// declaredNames returns the names that a node declares: of a function, a type, a field, a parameter, a constant or
// a variable.
func declaredNames(node ast.Node) []*ast.Ident {
	switch node := node.(type) {
	case *ast.FuncDecl:
		return []*ast.Ident{node.Name}
	case *ast.TypeSpec:
		return []*ast.Ident{node.Name}
	case *ast.Field:
		return node.Names
	case *ast.ValueSpec:
		return node.Names
	case *ast.AssignStmt:
		return namesOf(node.Tok, node.Lhs...)
	case *ast.RangeStmt:
		return namesOf(node.Tok, node.Key, node.Value)
	}
	return nil
}

// namesOf returns the variables that the left side of := declares.
func namesOf(operator token.Token, left ...ast.Expr) (names []*ast.Ident) {
	for _, expression := range left {
		if name, ok := expression.(*ast.Ident); ok && operator == token.DEFINE {
			names = append(names, name)
		}
	}
	return names
}

// nameWord finds the words of a name in camel case.
var nameWord = regexp.MustCompile(`[A-Z]+[a-z0-9]*|[a-z0-9]+`)

// checkName returns what is wrong with the words of a declared name.
func checkName(pkg, name string) (offences []string) {
	if slices.Contains(outdatedFields[pkg], name) {
		offences = append(offences, name+": see the words in docs/ARCHITECTURE.md for a better name")
	}
	for _, word := range nameWord.FindAllString(name, -1) {
		if better := bannedInNames[strings.ToLower(word)]; better != "" {
			offences = append(offences, fmt.Sprintf("%s: write %s", name, better))
		}
	}
	return offences
}

// checkFuncComment returns what is wrong with the comment of a function, empty if
// nothing is, or if there is no comment.
func checkFuncComment(name, comment string) string {
	words := strings.Fields(comment)
	if len(words) == 0 {
		return ""
	}
	if words[0] != name {
		return fmt.Sprintf("%s: its comment starts with %q", name, words[0])
	}
	if len(words) == 1 || !isVerb(words[1]) {
		return fmt.Sprintf("%s: no verb follows its name: %s", name, strings.Join(words[:min(len(words), 4)], " "))
	}
	return ""
}

// isVerb reports whether a word may be a verb in the third person.
func isVerb(word string) bool {
	lower := !strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLower(r) })
	return lower && strings.HasSuffix(word, "s") && !slices.Contains(notVerbs, word)
}

// checkMessage returns the banned words of a string literal of several words: an
// error, a log line, an Event or a help text.
func checkMessage(literal string) []string {
	if len(strings.Fields(literal)) < minMessage || strings.Contains(literal, "\n") {
		return nil
	}
	return checkWords(strings.Trim(literal, "`\""))
}

// minMessage is how many words a string literal has that is read as a message.
const minMessage = 3
