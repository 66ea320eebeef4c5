// Package quantities bounds the time and the memory that a quantity takes, such as 1e-2000000000.
//
// Kubernetes rounds and compares quantities as decimals, for which it computes powers of ten of any size. That
// of a body of a few bytes takes hours and all memory, while it is decoded, before anything can deny it. Stored
// objects and answers of aggregated APIs have quantities too, so that a bound for bodies would not help.
//
// The library of decimals has all powers below [most] in a table, and raises a variable to others. This package
// makes that variable 1, so that there is nothing to compute. No resource is that large or small: results are
// right for all others.
package quantities

import (
	"math/big"
	_ "unsafe" // for go:linkname

	_ "gopkg.in/inf.v0" // It must be initialized first.
)

// most is the first power of ten that is not in the table of the library.
const most = 64

// upstream are the library's numbers from 0 to 10. It reads the last one for its table, when it is initialized, and
// for powers that are not in the table.
//
//go:linkname upstream gopkg.in/inf%2ev0.bigInt
var upstream [11]*big.Int //nolint:gochecknoglobals // the variable is the library's

var _ = replaceBase(upstream[10])

// replaceBase makes the base of further powers 1. It returns false if it is not 10, and changes nothing.
func replaceBase(base *big.Int) bool {
	if base == nil || base.Int64() != 10 {
		return false
	}
	base.SetInt64(1)
	return true
}
