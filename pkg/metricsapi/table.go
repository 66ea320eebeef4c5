package metricsapi

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// row is what kubectl get prints of an object.
type row struct {
	name   string
	usage  corev1.ResourceList
	window metav1.Duration
	object runtime.Object
}

// noUsage returns the usage of something that runs nothing, with a value for each
// resource that a metrics server measures.
func noUsage() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(0, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(0, resource.BinarySI),
	}
}

// addUsage adds usage to a total.
func addUsage(total, usage corev1.ResourceList) {
	for name, quantity := range usage {
		sum := total[name]
		sum.Add(quantity)
		total[name] = sum
	}
}

// addRow adds a row to a table: the name, one column for each resource, and the window.
// The first row has the columns. This is the table of the metrics server.
func addRow(table *metav1.Table, r row) {
	if table.ColumnDefinitions == nil {
		table.ColumnDefinitions = []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
		}
		for _, name := range slices.Sorted(maps.Keys(r.usage)) {
			table.ColumnDefinitions = append(table.ColumnDefinitions,
				metav1.TableColumnDefinition{Name: string(name), Type: "string", Format: "quantity"})
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions,
			metav1.TableColumnDefinition{Name: "Window", Type: "string", Format: "duration"})
	}
	cells := []any{r.name}
	resources := table.ColumnDefinitions[1 : len(table.ColumnDefinitions)-1]
	for _, column := range resources {
		quantity := r.usage[corev1.ResourceName(column.Name)]
		cells = append(cells, quantity.String())
	}
	cells = append(cells, r.window.Duration.String())
	table.Rows = append(table.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: r.object}})
}
