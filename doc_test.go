// Package sublet holds no code. Its tests keep the rules that reach over all
// packages: who may import whom, and how names, comments and documents read.
package sublet
