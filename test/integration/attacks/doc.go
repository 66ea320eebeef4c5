// Package attacks lets a hostile tenant try what docs/SECURITY.md lists, on a virtual
// cluster with the default values of the chart. Its server is a process of its own on a
// simulated host.
package attacks
