// Command sublet creates virtual clusters and connects to them. Named
// kubectl-sublet in the PATH, it runs as "kubectl sublet".
package main

import (
	"os"

	"github.com/sublet-dev/sublet/pkg/cli"
)

func main() { os.Exit(cli.Run()) }
