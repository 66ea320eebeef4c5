#!/usr/bin/env bash
# Pins k8s.io/kubernetes and every staging module in go.mod to one Kubernetes release.
# k8s.io/kubernetes requires its staging modules at v0.0.0, which does not exist, and replaces them by folders of its own
# tree, which others cannot. So go.mod requires each of them at its published version. It has no replace lines, as
# `go install github.com/sublet-dev/sublet/cmd/sublet@latest` refuses those.
#
#   hack/update-k8s.sh v1.37.1
set -euo pipefail
version=${1:?usage: hack/update-k8s.sh vX.Y.Z}
staging=v0.${version#v1.}
cd "$(dirname "$0")/.."

tree=$(cd "$(mktemp -d)" && GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@$version" |
  sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
[ -n "$tree" ] || { echo "update-k8s: k8s.io/kubernetes@$version cannot be downloaded" >&2; exit 1; }

edit=(-require="k8s.io/kubernetes@$version")
while read -r module; do
  edit+=(-require="$module@$staging")
done < <(sed -n 's#^\t\(k8s\.io/[^ ]*\) => \./staging/.*#\1#p' "$tree" | sort -u)
go mod edit "${edit[@]}"
go mod tidy
echo "update-k8s: k8s.io/kubernetes $version with $((${#edit[@]} - 1)) staging modules at $staging"
