package main

import "strings"

// scheduleConditions returns the conditions of texts that only the server can parse, so the schema accepts them. With a
// wrong one, an upgrade would replace a running control plane by one that does not start.
func scheduleConditions() map[string]string {
	const schedule = "$v.controlPlane.backingStore.backup.schedule"
	return map[string]string{
		"backup-never":                   `or (include "sublet.backwards" ` + schedule + ") (not (regexMatch `" + validSchedules() + "` " + schedule + ")) (regexMatch `" + impossibleDays + "` " + schedule + ")",
		"service-annotation-expressions": `include "sublet.badExpressions" $v.policies.services.annotations`,
		"ingress-annotation-expressions": `include "sublet.badExpressions" $v.policies.ingresses.annotations`,
	}
}

// impossibleDays matches days that none of their months has.
const impossibleDays = `(?i)^\S+ +\S+ +((30|31)(,(30|31))* +(0*2|feb)|31 +(0*[2469]|11|feb|apr|jun|sep|nov)(,(0*[2469]|11|feb|apr|jun|sep|nov))*) +[*?]$`

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

// backwardsTemplate finds ranges of a schedule that end before they begin.
const backwardsTemplate = `
{{- /* Not empty if a range in a schedule ends before it begins. */ -}}
{{- define "sublet.backwards" -}}
{{- $names := dict "jan" 1 "feb" 2 "mar" 3 "apr" 4 "may" 5 "jun" 6 "jul" 7 "aug" 8 "sep" 9 "oct" 10 "nov" 11 "dec" 12 -}}
{{- $names = merge $names (dict "sun" 0 "mon" 1 "tue" 2 "wed" 3 "thu" 4 "fri" 5 "sat" 6) -}}
{{- range $range := regexFindAll "[0-9a-z]+-[0-9a-z]+" (lower .) -1 -}}
{{- $ends := list -}}
{{- range $end := splitList "-" $range -}}
{{- $number := ternary (get $names $end) (regexReplaceAll "^0+" $end "" | default "0" | atoi) (hasKey $names $end) -}}
{{- $ends = append $ends $number -}}
{{- end -}}
{{- if gt (first $ends | int) (last $ends | int) }}yes{{ end -}}
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
