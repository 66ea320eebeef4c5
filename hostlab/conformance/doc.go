// Package conformance runs the conformance suite of Kubernetes against the host of package
// hostlab and against a virtual cluster on it, and compares the results.
//
// [Suite.Build] builds the suite, Ginkgo's runner and the programs of the images from the
// modules of go.mod. The images stand for those of the public registry, which may be out of
// reach. They have the suite's names, and programs of Kubernetes' own modules and of
// Debian. [Suite.Run] runs specs against one target, and [Results] keeps what became of
// each spec over several runs.
package conformance
