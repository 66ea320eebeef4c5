package quantities

import (
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// TestHugeExponents decodes quantities whose exact value has billions of digits, and computes with them.
func TestHugeExponents(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if tiny, err := resource.ParseQuantity("1e-2000000000"); err != nil || tiny.String() != "1e-9" {
			t.Errorf("a tiny quantity is %v, %v, want the smallest one", &tiny, err)
		}
		if _, err := resource.ParseQuantity("12345678901234567890123e2000000000"); err != nil {
			t.Errorf("a huge quantity: %v", err)
		}
		huge, one := resource.MustParse("1e2000000000"), resource.MustParse("1.5")
		_ = huge.Cmp(one)
		huge.Add(one)
		huge.Sub(one)
		_, _, _ = huge.String(), huge.Value(), huge.MilliValue()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the quantities take longer than 10 s")
	}
}

// TestOrdinaryQuantities computes with quantities of all sizes that resources have.
func TestOrdinaryQuantities(t *testing.T) {
	t.Parallel()
	for exponent := -9; exponent <= 36; exponent++ {
		small, large := resource.MustParse("7e"+strconv.Itoa(exponent)), resource.MustParse("12345678901234567890123e"+strconv.Itoa(exponent))
		if small.Cmp(large) != -1 || large.Cmp(small) != 1 {
			t.Errorf("%v and %v compare as %d", &small, &large, small.Cmp(large))
		}
		sum := large.DeepCopy()
		sum.Add(small)
		sum.Sub(large)
		if sum.Cmp(small) != 0 {
			t.Errorf("adding and subtracting %v made %v of %v", &large, &sum, &small)
		}
	}
}

// TestTable fails if the library has another table than the comment of the package describes.
func TestTable(t *testing.T) {
	t.Parallel()
	largest, nano := resource.MustParse("1e"+strconv.Itoa(most-10)), resource.MustParse("1n")
	if largest.Cmp(nano) != 1 {
		t.Errorf("%v is not larger than %v: the table ends below 10^%d", &largest, &nano, most)
	}
	if upstream[10].Int64() != 1 {
		t.Errorf("the base of further powers is %v, want 1", upstream[10])
	}
}
