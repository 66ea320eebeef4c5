package sublet

// maxSentence is how many words a sentence may have.
const maxSentence = 25

// bannedWords maps a word or phrase to what to write in its place. The lookup
// ignores case and matches whole words.
var bannedWords = map[string]string{
	"anew":         "again",
	"be it":        "a sentence of its own",
	"bear":         "have",
	"bears":        "has",
	"beside":       "in addition to, next to",
	"goes on":      "continues",
	"go on":        "continue",
	"hands over":   "passes",
	"handed over":  "passed",
	"heed":         "use",
	"heeds":        "uses",
	"held back":    "on hold",
	"lies":         "is",
	"memo":         "expectations",
	"overtaken":    "awaited",
	"physical":     "host",
	"says":         "records, logs, returns, specifies",
	"set aside":    "hidden",
	"stands":       "is",
	"such that":    "so that",
	"surpassed":    "stale",
	"takes away":   "removes",
	"take away":    "remove",
	"taken away":   "removed",
	"tells":        "records, logs, returns, specifies",
	"the way out":  "what to do",
	"turned away":  "unschedulable",
	"turns away":   "unschedulable",
	"verdict":      "decision",
	"whatsoever":   "any",
	"wish":         "request, setting",
	"wished":       "requested",
	"wishes":       "requests, settings",
	"refusedplace": "unschedulable",
}

// bannedInNames maps a word that no name may have to what to write in its place. They are the words of the
// glossary's last column that have no other use in code.
var bannedInNames = map[string]string{
	"bear":      "has",
	"bears":     "has",
	"beside":    "besides, next",
	"doubt":     "suspect, cause",
	"doubts":    "suspects",
	"handed":    "proposal",
	"heed":      "use",
	"heeds":     "uses",
	"memo":      "expectations",
	"overtaken": "awaited",
	"surpassed": "newer, stale",
	"toggle":    "setting, switch",
	"toggles":   "settings, switches",
	"verdict":   "decision",
	"wish":      "request, setting",
	"wished":    "requested",
	"wishes":    "requests, settings",
}

// outdatedFields maps a package to names that nothing in it may have, fields and variables included.
var outdatedFields = map[string][]string{
	"pkg/syncer": {"EndsWithHost", "endsWithHost", "Source", "source", "sources"},
}

// notVerbs are words that must not follow the name in a function comment. All
// of them end in s, as a verb does.
var notVerbs = []string{
	"is", "was", "has", "says", "tells", "knows", "its", "this", "as", "unless", "less", "always", "stands", "lies",
}

// outdatedNames are names that no function, closure or type may have: they name states, or verbs without an object.
var outdatedNames = []string{
	"follow", "orphan", "predecessor", "unwanted", "ending", "absent", "taken", "present", "foreign", "made",
	"belongs", "refuse", "tell", "makeHost", "wantedHost", "show", "hide", "shown", "sourceless", "sourceOf",
	"copied", "visible", "last", "mark", "live", "remove", "emptied", "refused", "saying", "both", "or", "contains",
	"with", "difference", "bound", "bind", "withEphemeral", "resized", "wrote", "surpassed", "deleted", "changing",
	"unchanged", "overtaken", "behind", "deleting", "fresh", "next", "settle", "event", "note", "missed", "wake",
	"Look", "put", "launch", "first", "firstTaken", "firstCopy", "reuse", "close", "doubt", "look", "shut", "verdict",
	"saw", "due", "inVirtual", "shortened", "reading", "lacks", "troubled", "stripped", "gate", "guard", "memo",
	"notes", "source", "wantPod", "placed", "placeFor", "onlyKnown", "finished", "over", "offer", "tenantOf", "hides",
	"judge", "back", "way", "concerns", "about", "missing", "unanswered", "versioned", "unversioned", "assign",
	"drop", "rename", "volumes", "place", "says", "known", "observed", "wishes", "sendChanged", "TurnedAway",
	"Refuse", "ask", "saidOf", "simple", "unlucky", "roomier", "added", "miss", "handed", "meetHost", "learn",
	"hostSilent", "widest", "recall", "gatesOff", "modest", "noSuchPod", "lacksRight",
}

// outdatedFiles maps a file to the name that it should have.
var outdatedFiles = map[string]string{
	"pkg/syncer/first.go":                "hostfirst.go",
	"pkg/syncer/changefirst.go":          "hostfirst.go",
	"pkg/syncer/gate.go":                 "hostbreaker.go",
	"pkg/syncer/guard.go":                "storeguard.go",
	"pkg/syncer/memo.go":                 "expectations.go",
	"pkg/syncer/notes.go":                "tenantevents.go",
	"pkg/syncer/source.go":               "watches.go",
	"pkg/syncer/kinds/copies.go":         "origin.go",
	"pkg/syncer/kinds/podplace.go":       "podscheduling.go",
	"pkg/syncer/kinds/references.go":     "referrers.go",
	"pkg/syncer/kinds/servicerefusal.go": "pkg/admission/hosterror.go",
	"pkg/virtualscheduler/handed.go":     "memoryproposals.go",
	"pkg/virtualscheduler/waits.go":      "podwaiters.go",
	"pkg/virtualscheduler/backoff.go":    "nodebackoff.go",
	"pkg/app/host.go":                    "hostfacts.go",
	"pkg/app/parts.go":                   "lifecycle.go",
	"pkg/app/process.go":                 "logging.go",
	"pkg/nodeproxy/answer.go":            "errors.go",
	"pkg/dns/chain.go":                   "plugins.go",
	"pkg/dns/observe.go":                 "metrics.go",
	"pkg/config/check.go":                "validate.go",
	"pkg/config/nearest.go":              "suggest.go",
}
