{{- /*
What is wrong with the IP ranges in the values, a line each. The schema knows their form alone. The server
refuses the rest, but only after the upgrade has stopped the one before. The messages are those of the server.
*/ -}}
{{- define "sublet.ranges" -}}
{{- $problems := list -}}
{{- range $path := include "sublet.rangePaths" . | fromJsonArray -}}
{{- $node := $.Values -}}
{{- range $key := splitList "." $path -}}
{{- $node = get ($node | default dict) $key -}}
{{- end -}}
{{- $isList := kindIs "slice" $node -}}
{{- range $i, $range := ternary $node (list $node) $isList -}}
{{- if include "sublet.isBadRange" (toString $range) -}}
{{- $at := ternary (printf "[%d]" $i) "" $isList -}}
{{- $problems = append $problems (printf "%s%s: Invalid value: %q: must be an IP range that begins at its first address, such as 10.96.0.0/12" $path $at $range) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "\n" $problems -}}
{{- end -}}

{{- /* Not empty if a range of IPv4 has a number that is too large, or does not begin at its first address. */ -}}
{{- define "sublet.isBadRange" -}}
{{- if regexMatch "^[0-9]+([.][0-9]+){3}/[0-9]+$" . -}}
{{- $numbers := regexSplit "[./]" . -1 -}}
{{- $bits := last $numbers | atoi -}}
{{- $isBad := or (gt $bits 32) (ne (toString $bits) (last $numbers)) -}}
{{- $first := 0 -}}
{{- range $number := initial $numbers -}}
{{- if or (gt (atoi $number) 255) (ne (atoi $number | toString) $number) }}{{ $isBad = true }}{{ end -}}
{{- $first = add (mul $first 256) (atoi $number) -}}
{{- end -}}
{{- $size := 1 -}}
{{- range until (sub 32 (min $bits 32) | int) }}{{ $size = mul $size 2 }}{{ end -}}
{{- if or $isBad (mod $first $size) }}yes{{ end -}}
{{- end -}}
{{- end -}}
