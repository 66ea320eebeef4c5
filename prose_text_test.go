package sublet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// sentenceEnd finds where a sentence ends: a stop, what closes after it, and space.
var sentenceEnd = regexp.MustCompile(`[.!?]["'”’)\]]*\s+`)

// abbreviation finds words whose stop does not end a sentence.
var abbreviation = regexp.MustCompile(`(?i)(^|[\s(])(e\.g|i\.e|etc|vs|cf|approx|no)\.$`)

// listItem finds the mark at the start of a list item.
var listItem = regexp.MustCompile(`^\s*([-*+]|\d+[.)])\s+`)

// checkText returns what is wrong with the sentences of a text: paragraphs of
// prose that have no code in them any more.
func checkText(paragraphs []string) []string {
	var offences []string
	for _, paragraph := range paragraphs {
		for _, sentence := range sentences(paragraph) {
			if n := countWords(sentence); n > maxSentence {
				offences = append(offences, fmt.Sprintf("a sentence of %d words: %s", n, sentence))
			}
		}
		offences = append(offences, checkWords(paragraph)...)
	}
	return offences
}

// checkWords returns the banned words of a text, each with what to write instead.
func checkWords(text string) []string {
	var offences []string
	for _, word := range slices.Sorted(maps.Keys(bannedWords)) {
		if patterns[word].MatchString(text) {
			offences = append(offences, fmt.Sprintf("%q: write %s: %s", word, bannedWords[word], text))
		}
	}
	return offences
}

// sentences splits a paragraph at the stops that end a sentence.
func sentences(paragraph string) []string {
	paragraph = strings.Join(strings.Fields(paragraph), " ")
	var found []string
	start := 0
	for _, at := range sentenceEnd.FindAllStringIndex(paragraph, -1) {
		if abbreviation.MatchString(paragraph[start : at[0]+1]) {
			continue
		}
		found = append(found, strings.TrimSpace(paragraph[start:at[1]]))
		start = at[1]
	}
	if rest := strings.TrimSpace(paragraph[start:]); rest != "" {
		found = append(found, rest)
	}
	return found
}

// countWords counts the words of a sentence. Marks that stand alone are none.
func countWords(sentence string) int {
	n := 0
	for word := range strings.FieldsSeq(sentence) {
		if strings.ContainsFunc(word, isLetterOrDigit) {
			n++
		}
	}
	return n
}

func isLetterOrDigit(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r > 127
}

// patterns keeps the compiled form of each banned word.
var patterns = func() map[string]*regexp.Regexp {
	compiled := map[string]*regexp.Regexp{}
	for word := range bannedWords {
		compiled[word] = regexp.MustCompile(`(?i)(^|[^\w/.-])` + strings.ReplaceAll(regexp.QuoteMeta(word), " ", `\s+`) + `($|[^\w/-])`)
	}
	return compiled
}()

// paragraphsOf splits lines of prose into paragraphs. A list item is a paragraph
// of its own; indented lines that continue none are code and are left out.
func paragraphsOf(text string) []string {
	var found []string
	var current []string
	flush := func() {
		if len(current) > 0 {
			found = append(found, strings.Join(current, " "))
		}
		current = nil
	}
	inItem := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\n")
		mark := listItem.FindString(line)
		indented := strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "  ")
		switch {
		case line == "":
			flush()
			inItem = false
		case mark != "":
			flush()
			current, inItem = []string{line[len(mark):]}, true
		case strings.HasPrefix(line, "# "):
			flush()
		case indented && !inItem:
			flush()
		default:
			current = append(current, strings.TrimSpace(line))
		}
	}
	flush()
	return found
}

var (
	codeSpan     = regexp.MustCompile("`[^`]*`")
	markdownLink = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	htmlComment  = regexp.MustCompile(`(?s)<!--.*?-->`)
)

// markdownParagraphs returns the prose of a Markdown document: no code, no
// headings, no tables.
func markdownParagraphs(text string) []string {
	var prose strings.Builder
	fenced := false
	for line := range strings.Lines(htmlComment.ReplaceAllString(text, "")) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			fenced = !fenced
			prose.WriteString("\n")
		case fenced:
		case strings.HasPrefix(trimmed, "#"), strings.HasPrefix(trimmed, "|"):
			prose.WriteString("\n")
		default:
			prose.WriteString(strings.TrimPrefix(line, "> "))
		}
	}
	plain := markdownLink.ReplaceAllString(prose.String(), "$1")
	return paragraphsOf(codeSpan.ReplaceAllString(plain, "CODE"))
}

// templateComment finds a comment of a Helm template.
var templateComment = regexp.MustCompile(`(?s)\{\{-?\s*/\*(.*?)\*/\s*-?\}\}`)

// templateParagraphs returns the comments of a template or of YAML.
func templateParagraphs(text string) (found []string) {
	for _, comment := range templateComment.FindAllStringSubmatch(text, -1) {
		found = append(found, paragraphsOf(comment[1])...)
	}
	var lines strings.Builder
	for line := range strings.Lines(templateComment.ReplaceAllString(text, "")) {
		if comment, ok := strings.CutPrefix(strings.TrimSpace(line), "#"); ok {
			lines.WriteString(strings.TrimPrefix(comment, " "))
		}
		lines.WriteString("\n")
	}
	// A line without a comment ends a paragraph.
	for block := range strings.SplitSeq(lines.String(), "\n\n") {
		found = append(found, paragraphsOf(block)...)
	}
	return found
}

const (
	maxColumns   = 4
	maxCellWords = 20
)

// checkTables returns what is wrong with the tables of a Markdown document.
func checkTables(text string) []string {
	var offences []string
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced || !strings.HasPrefix(line, "|") {
			continue
		}
		plain := markdownLink.ReplaceAllString(codeSpan.ReplaceAllString(line, "CODE"), "$1")
		cells := strings.Split(strings.Trim(plain, "|"), "|")
		if len(cells) > maxColumns {
			offences = append(offences, fmt.Sprintf("a table of %d columns: %s", len(cells), line))
		}
		for _, cell := range cells {
			if n := countWords(cell); n > maxCellWords {
				offences = append(offences, fmt.Sprintf("a table cell of %d words: %s", n, strings.TrimSpace(cell)))
			}
		}
	}
	return offences
}
