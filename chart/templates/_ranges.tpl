{{- /*
What is wrong with the IPs and IP ranges in the values, a line each. The schema knows their form alone. The server
refuses the rest, but only after the upgrade has stopped the one before. The messages are those of the server.
*/ -}}
{{- define "sublet.ranges" -}}
{{- $problems := list -}}
{{- range $format := include "sublet.addressFormats" . | fromJsonArray -}}
{{- range $path := $format.paths -}}
{{- range $found := include "sublet.textsAt" (dict "node" $.Values "keys" (splitList "." $path) "at" "") | fromJsonArray -}}
{{- if include "sublet.isBadAddress" $found.text -}}
{{- $problems = append $problems (printf "%s: Invalid value: %q: must be %s" $found.at $found.text $format.want) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "\n" $problems -}}
{{- end -}}

{{- /* The texts at a path, also those in its lists and maps: a dict of node, keys that are left, and at. */ -}}
{{- define "sublet.textsAt" -}}
{{- $all := list -}}
{{- if kindIs "slice" .node -}}
{{- range $i, $item := .node -}}
{{- $all = concat $all (include "sublet.textsAt" (dict "node" $item "keys" $.keys "at" (printf "%s[%d]" $.at $i)) | fromJsonArray) -}}
{{- end -}}
{{- else if and .keys (kindIs "map" .node) -}}
{{- $key := first .keys -}}
{{- $all = include "sublet.textsAt" (dict "node" (get .node $key) "keys" (rest .keys) "at" (printf "%s.%s" .at $key | trimPrefix ".")) | fromJsonArray -}}
{{- else if kindIs "map" .node -}}
{{- range $key, $item := .node -}}
{{- $all = append $all (dict "at" (printf "%s[%s]" $.at $key) "text" (toString $item)) -}}
{{- end -}}
{{- else if and .node (kindIs "string" .node) -}}
{{- $all = append $all (dict "at" .at "text" .node) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{- /* Not empty if a text has a malformed IP: a range, an IP with or without a port, or URLs with commas between them. */ -}}
{{- define "sublet.isBadAddress" -}}
{{- range $part := splitList "," . -}}
{{- $text := regexReplaceAll "^[a-z]+://" $part "" -}}
{{- $host := regexFind "^[^:/]*" $text -}}
{{- if hasPrefix "[" $text -}}
{{- $host = regexFind "^[[][^]]*" $text | trimPrefix "[" -}}
{{- else if regexMatch ":.*:" $text -}}
{{- $host = regexFind "^[^/]*" $text -}}
{{- end -}}
{{- if contains ":" $host -}}
{{- $digits := include "sublet.digitsOf" $host -}}
{{- if not $digits }}yes{{ else if and (eq $text $part) (contains "/" $text) }}{{ include "sublet.isBadRange" (dict "digits" $digits "bits" (regexFind "[0-9]*$" $text)) }}{{ end -}}
{{- else if regexMatch "^[0-9.]+$" $host -}}
{{- if not (regexMatch "^(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])([.](25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}$" $host) -}}
yes
{{- else if and (eq $text $part) (contains "/" $text) -}}
{{- $digits := include "sublet.digitsOf" (print "::" $host) | trunc -8 -}}
{{- include "sublet.isBadRange" (dict "digits" $digits "bits" (regexFind "[0-9]*$" $text)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a range is too small, or does not begin at its first address. A dict of all digits of its address, and bits. */ -}}
{{- define "sublet.isBadRange" -}}
{{- $bits := atoi .bits -}}
{{- if or (ne (toString $bits) .bits) (gt $bits (len .digits | mul 4 | int)) -}}
yes
{{- else -}}
{{- $first := index (list "0" "08" "048c" "02468ace") (mod $bits 4) -}}
{{- if not (regexMatch (printf "^([%s]0*)?$" $first) (substr (div $bits 4 | int) (len .digits) .digits)) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* The 32 digits of an IPv6 address. It is empty if the address is malformed. */ -}}
{{- define "sublet.digitsOf" -}}
{{- $text := lower . -}}
{{- with regexFind "[0-9]+([.][0-9]+){3}$" $text -}}
{{- if regexMatch "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])([.]|$)){4}$" . -}}
{{- $n := splitList "." . -}}
{{- $last := printf "%02x%02x:%02x%02x" (index $n 0 | atoi) (index $n 1 | atoi) (index $n 2 | atoi) (index $n 3 | atoi) -}}
{{- $text = print (trimSuffix . $text) $last -}}
{{- end -}}
{{- end -}}
{{- $sides := list -}}
{{- $count := 0 -}}
{{- $isBad := false -}}
{{- range $side := splitList "::" $text -}}
{{- $digits := "" -}}
{{- range $group := ternary (splitList ":" $side) list (ne $side "") -}}
{{- if not (regexMatch "^[0-9a-f]{1,4}$" $group) }}{{ $isBad = true }}{{ end -}}
{{- $digits = print $digits (print "0000" $group | trunc -4) -}}
{{- $count = add1 $count -}}
{{- end -}}
{{- $sides = append $sides $digits -}}
{{- end -}}
{{- $isWhole := eq (len $sides) 1 -}}
{{- if not (or $isBad (gt (len $sides) 2) (and $isWhole (ne (int $count) 8)) (and (not $isWhole) (gt (int $count) 7))) -}}
{{- join (repeat (sub 8 $count | int) "0000") $sides -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if all addresses of one range are in the other: a dict of inner and outer. Both are well-formed. */ -}}
{{- define "sublet.isPartOf" -}}
{{- $inner := splitList "/" .inner -}}
{{- $outer := splitList "/" .outer -}}
{{- $isSix := contains ":" .inner -}}
{{- if and (eq $isSix (contains ":" .outer)) (eq (len $inner) 2) (eq (len $outer) 2) -}}
{{- $bits := last $outer | atoi -}}
{{- if le $bits (last $inner | atoi) -}}
{{- $small := include "sublet.digitsOf" (ternary (first $inner) (print "::" (first $inner)) $isSix) -}}
{{- $large := include "sublet.digitsOf" (ternary (first $outer) (print "::" (first $outer)) $isSix) -}}
{{- if not $isSix }}{{ $small = trunc -8 $small }}{{ $large = trunc -8 $large }}{{ end -}}
{{- $whole := div $bits 4 | int -}}
{{- if and $small $large (eq (trunc $whole $small) (trunc $whole $large)) -}}
{{- $rest := mod $bits 4 -}}
{{- /* The first bits of the next digit. */ -}}
{{- $groups := index (list "0123456789abcdef" "01234567 89abcdef" "0123 4567 89ab cdef" "01 23 45 67 89 ab cd ef") $rest -}}
{{- range splitList " " $groups -}}
{{- if or (eq $rest 0) (and (contains (substr $whole (int (add1 $whole)) $small) .) (contains (substr $whole (int (add1 $whole)) $large) .)) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The exceptions of an IPBlock that are parts of its range, as a JSON list: a dict of cidr and except. */ -}}
{{- define "sublet.exceptions" -}}
{{- $cidr := .cidr -}}
{{- $parts := list -}}
{{- range .except -}}
{{- if and (include "sublet.isPartOf" (dict "inner" . "outer" $cidr)) (not (include "sublet.isPartOf" (dict "inner" $cidr "outer" .))) -}}
{{- $parts = append $parts . -}}
{{- end -}}
{{- end -}}
{{- toJson $parts -}}
{{- end -}}

{{- /* Not empty if an exception of an IPBlock has all of its range. */ -}}
{{- define "sublet.closesAll" -}}
{{- $cidr := .cidr -}}
{{- if .enabled -}}
{{- range .except -}}
{{- if include "sublet.isPartOf" (dict "inner" $cidr "outer" .) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
