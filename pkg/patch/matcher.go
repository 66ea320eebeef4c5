package patch

// matcher finds the places of a copy in another tree.
type matcher struct {
	tree any
	// indexes: name of a list in the copy -> name of an item -> its index in the tree
	indexes map[string]map[string]int
	// sameOrder is true if no item of a list of the copy is renamed, added, moved or removed.
	sameOrder bool
	// hostName returns the name that the copy has for an item of the tree. nil keeps names.
	hostName func(name string) string
	// renamed is the copy if its lists may have other names than those of the tree, else nil.
	renamed map[string]any
	// aligned: name of a list in the copy -> whether its items are those of the tree, in their order
	aligned map[string]bool
}

// newMatcher returns a matcher for a tree. A nil tree has no places.
func newMatcher(tree map[string]any) *matcher {
	return &matcher{tree: tree, indexes: map[string]map[string]int{}, aligned: map[string]bool{}}
}

// find returns the keys that lead to a place of the copy in the tree. Items of lists are found by their
// name or type, and otherwise by their index. ok is false if the tree lacks an item.
func (m *matcher) find(at location) (keys []any, ok bool) {
	if m.sameOrder {
		return at.keys, true
	}
	for i, key := range at.keys {
		if index, isItem := key.(int); isItem {
			if key, ok = m.indexOf(at.names[i-1], at.names[i], keys); !ok {
				if !m.isAligned(at, i, keys) {
					return nil, false
				}
				key = index
			}
		}
		keys = append(keys, key)
	}
	return keys, true
}

// indexOf returns the index in the tree of an item of a list. list and item are their names in the copy, and
// keys lead to the list in the tree.
func (m *matcher) indexOf(list, item string, keys []any) (int, bool) {
	if m.indexes[list] == nil {
		items := readList(m.tree, keys)
		m.indexes[list] = map[string]int{}
		for _, names := range [][]string{itemNames(m.toHost(items)), itemNames(items)} {
			for i, name := range names {
				m.indexes[list][list+"["+name+"]"] = i
			}
		}
	}
	index, ok := m.indexes[list][item]
	return index, ok
}

// toHost returns items with the names that the copy has for them.
func (m *matcher) toHost(items []any) []any {
	if m.hostName == nil {
		return nil
	}
	translated := make([]any, len(items))
	for i, item := range items {
		translated[i] = item
		if name := textOf(item, "name"); name != "" {
			translated[i] = map[string]any{"name": m.hostName(name)}
		}
	}
	return translated
}

// isAligned reports whether the items of a list of the copy are those of the tree, in their order, though some have
// other names. depth is that of the item in the place. The lists must have the same length, and no item of one may
// be at another index of the other. Types are never translated: an item of an unknown type is another one.
func (m *matcher) isAligned(at location, depth int, keys []any) bool {
	list := at.names[depth-1]
	if aligned, known := m.aligned[list]; known || m.renamed == nil {
		return aligned
	}
	copied, items := readList(m.renamed, at.keys[:depth]), readList(m.tree, keys)
	aligned := len(copied) == len(items)
	for i, name := range itemNames(copied) {
		index, found := m.indexes[list][list+"["+name+"]"]
		aligned = aligned && (found && index == i || !found && textOf(copied[i], "name") != "" && textOf(items[i], "name") != "")
	}
	m.aligned[list] = aligned
	return aligned
}

// readList returns the list at a place, nil if there is none.
func readList(tree any, keys []any) []any {
	value, _ := read(tree, keys)
	list, _ := value.([]any)
	return list
}
