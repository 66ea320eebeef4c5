package controlplane

import (
	"sync"
	"time"

	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// certificateExpiry is the metric of the ends of certificates.
var certificateExpiry = sync.OnceValue(func() *metrics.GaugeVec { //nolint:gochecknoglobals // a metric is one per process
	return meter.GaugeVec("sublet_certificate_expiration_timestamp_seconds",
		"End of a certificate of the virtual cluster, in seconds since 1970. Authorities end after ten years. "+
			"All others are renewed when a third of their life is left.", "certificate")
})

// RecordExpiry sets the metric of the end of a certificate.
func RecordExpiry(certificate string, end time.Time) {
	certificateExpiry().WithLabelValues(certificate).Set(float64(end.Unix()))
}

// RecordLeafExpiry sets the metric of a certificate now and at each renewal.
func RecordLeafExpiry(certificate string, leaf *pki.Leaf) {
	record := func() { RecordExpiry(certificate, leaf.Current().NotAfter) }
	record()
	leaf.OnRenewal(record)
}
