package syncer

import "sync"

// workers are goroutines that work on the keys of one queue. At most one of them waits for a key, and the others
// start when there are keys. There are many kinds, and each goroutine that waits holds a stack.
type workers struct {
	limit int
	group sync.WaitGroup

	mu      sync.Mutex
	running int
	waiting int
}

// start starts the first worker. work must call takeKey when it has a key. After the key it must
// call awaitKey, and return if that is false.
func (w *workers) start(work func()) {
	w.running, w.waiting = 1, 1
	w.group.Go(work)
}

// takeKey records that a worker has got a key. It starts another one that waits for the next key, unless one
// waits already or there are enough.
func (w *workers) takeKey(work func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting--
	if w.waiting > 0 || w.running >= w.limit {
		return
	}
	w.running++
	w.waiting++
	w.group.Go(work)
}

// awaitKey reports whether the worker must wait for the next key. It must end if another one waits.
func (w *workers) awaitKey() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting > 0 {
		w.running--
		return false
	}
	w.waiting++
	return true
}
