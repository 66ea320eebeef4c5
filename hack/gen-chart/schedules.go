package main

import "strings"

// scheduleConditions returns the conditions of texts that only the server can parse, so the schema accepts them. With a
// wrong one, an upgrade would replace a running control plane by one that does not start.
func scheduleConditions() map[string]string {
	const schedule = "$v.controlPlane.backingStore.backup.schedule"
	return map[string]string{
		"backup-never":                   `or (not (regexMatch ` + "`" + validSchedules() + "` " + schedule + `)) (include "sublet.backwards" ` + schedule + `) (include "sublet.isNever" ` + schedule + ")",
		"service-annotation-expressions": `include "sublet.badExpressions" $v.policies.services.annotations`,
		"ingress-annotation-expressions": `include "sublet.badExpressions" $v.policies.ingresses.annotations`,
	}
}

// validSchedules returns the expression of schedules whose numbers are in their ranges.
func validSchedules() string {
	fields := make([]string, 0, 5)
	for _, number := range []string{
		`0*[0-5]?[0-9]`, `0*(1?[0-9]|2[0-3])`, `0*([1-9]|[12][0-9]|3[01])`,
		`(0*([1-9]|1[0-2])|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)`, `(0*[0-6]|sun|mon|tue|wed|thu|fri|sat)`,
	} {
		item := `([*?]|` + number + `(-` + number + `)?)(/0*[1-9][0-9]{0,8})?`
		fields = append(fields, item+`(,`+item+`)*`)
	}
	return `(?i)^(@[a-z]+|` + strings.Join(fields, ` +`) + `)$`
}

// backwardsTemplate finds ranges of a schedule that end before they begin, and days that none of its months has. Any
// day of the week makes up for such a day.
const backwardsTemplate = `
{{- /* A number of a schedule, or the name of a month or a day, as a number. */ -}}
{{- define "sublet.dateNumber" -}}
{{- $names := dict "jan" 1 "feb" 2 "mar" 3 "apr" 4 "may" 5 "jun" 6 "jul" 7 "aug" 8 "sep" 9 "oct" 10 "nov" 11 "dec" 12 -}}
{{- $names = merge $names (dict "sun" 0 "mon" 1 "tue" 2 "wed" 3 "thu" 4 "fri" 5 "sat" 6) -}}
{{- ternary (get $names .) (regexReplaceAll "^0+" . "" | default "0" | atoi) (hasKey $names .) -}}
{{- end -}}

{{- /* Not empty if a range in a schedule ends before it begins. */ -}}
{{- define "sublet.backwards" -}}
{{- range $range := regexFindAll "[0-9a-z]+-[0-9a-z]+" (lower .) -1 -}}
{{- $ends := splitList "-" $range -}}
{{- if gt (include "sublet.dateNumber" (first $ends) | int) (include "sublet.dateNumber" (last $ends) | int) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if none of the months of a schedule has one of its days, and the day of the week is any. */ -}}
{{- define "sublet.isNever" -}}
{{- $fields := regexFindAll "[^ ]+" (lower .) -1 -}}
{{- if and (eq (len $fields) 5) (regexMatch "(^|,)[*?](/0*1)?(,|$)" (last $fields)) -}}
{{- $day := 31 -}}
{{- range $item := splitList "," (index $fields 2) -}}
{{- $day = min $day (include "sublet.dateNumber" (regexReplaceAll "[*?]" (regexFind "^[^-/]+" $item) "1") | int) -}}
{{- end -}}
{{- $days := 0 -}}
{{- range $item := splitList "," (index $fields 3) -}}
{{- $range := splitList "-" (regexReplaceAll "[*?]" (regexFind "^[^/]+" $item) "1-12") -}}
{{- $begin := include "sublet.dateNumber" (first $range) | int -}}
{{- $end := include "sublet.dateNumber" (last $range) | int -}}
{{- $step := regexFind "[0-9]+$" (regexFind "/.*" $item) | default "1" -}}
{{- if and (contains "/" $item) (eq (len $range) 1) }}{{ $end = 12 }}{{ end -}}
{{- range $month := untilStep $begin (add1 $end | int) (include "sublet.dateNumber" $step | int) -}}
{{- $days = max $days (index (list 31 29 31 30 31 30 31 31 30 31 30 31) (sub $month 1)) -}}
{{- end -}}
{{- end -}}
{{- if gt $day $days }}yes{{ end -}}
{{- end -}}
{{- end -}}
`

// expressionsTemplate finds entries of a map that are no regular expressions.
const expressionsTemplate = `
{{- /* Not empty if a value is no regular expression. An empty text matches each that is one, behind a bar. */ -}}
{{- define "sublet.badExpressions" -}}
{{- range $expression := . -}}
{{- if not (regexMatch (printf "|%s" $expression) "") }}bad{{ end -}}
{{- end -}}
{{- end -}}
`
