package admission

import "testing"

// TestNodeDenials compares each denial of a node change with the text that a tenant reads.
func TestNodeDenials(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for _, some := range []map[string]cell{cordonCells(), taintCells(), labelCells(), statusCells()} {
		for name, c := range some {
			if len(c.refused) == 0 {
				continue
			}
			options, _, before := nodeWorld(t, c.settings)
			after := before.DeepCopy()
			c.do(after)
			if err := updateNode(t, options, before, after, c.subresource, false); err != nil {
				texts[name] = err.Error()
			}
		}
	}
	checkGolden(t, "node-changes.txt", texts)
}
