package syncer

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

// queueMetrics creates the metrics of the queue of a kind. The name of the queue is that of the
// kind.
type queueMetrics struct{}

// NewDepthMetric implements workqueue.MetricsProvider. A queue of an earlier leader
// term may have left a value.
func (queueMetrics) NewDepthMetric(kind string) workqueue.GaugeMetric {
	depth := processMetrics().queueDepth.WithLabelValues(kind)
	depth.Set(0)
	return depth
}

// NewAddsMetric implements workqueue.MetricsProvider.
func (queueMetrics) NewAddsMetric(kind string) workqueue.CounterMetric {
	return processMetrics().queueAdds.WithLabelValues(kind)
}

// NewLatencyMetric implements workqueue.MetricsProvider.
func (queueMetrics) NewLatencyMetric(kind string) workqueue.HistogramMetric {
	return processMetrics().queueLatency.WithLabelValues(kind)
}

// NewWorkDurationMetric implements workqueue.MetricsProvider.
func (queueMetrics) NewWorkDurationMetric(kind string) workqueue.HistogramMetric {
	return processMetrics().workDuration.WithLabelValues(kind)
}

// NewUnfinishedWorkSecondsMetric implements workqueue.MetricsProvider.
func (queueMetrics) NewUnfinishedWorkSecondsMetric(kind string) workqueue.SettableGaugeMetric {
	return processMetrics().unfinishedWork.WithLabelValues(kind)
}

// NewLongestRunningProcessorSecondsMetric implements workqueue.MetricsProvider.
func (queueMetrics) NewLongestRunningProcessorSecondsMetric(kind string) workqueue.SettableGaugeMetric {
	return processMetrics().longestRunning.WithLabelValues(kind)
}

// NewRetriesMetric implements workqueue.MetricsProvider.
func (queueMetrics) NewRetriesMetric(kind string) workqueue.CounterMetric {
	return processMetrics().queueRetries.WithLabelValues(kind)
}

// minTick is the shortest period of a queue's housekeeping.
const minTick = 10 * time.Second

// slowTicker is a clock whose tickers tick at most every minTick. A queue would update its
// metrics twice per second, which costs CPU in dozens of idle queues.
type slowTicker struct{ clock.WithTicker }

// NewTicker implements clock.WithTicker.
func (c slowTicker) NewTicker(d time.Duration) clock.Ticker {
	return c.WithTicker.NewTicker(max(d, minTick))
}
