package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/k3s-io/kine/pkg/query"
)

// errServerLeft makes kine prepare the poll again, on another connection.
var errServerLeft = errors.New("the database server took no writes, and its connections are closed")

// pollConnection is what is known about the one connection on which kine polls for writes.
type pollConnection struct {
	// timeout bounds one poll. Zero means rangeTimeout.
	timeout time.Duration
	// end ends the context of the last poll, nil before the first one.
	end context.CancelFunc
	// left counts how often the server was left, and prepared is its value when the poll was prepared.
	left     atomic.Int64
	prepared int64
}

// nextPollContext returns the context of the next poll. The rows of the last one have been read, so that its context
// can end.
func (p *pollConnection) nextPollContext(ctx context.Context) context.Context {
	if p.end != nil {
		p.end()
	}
	timeout := p.timeout
	if timeout == 0 {
		timeout = rangeTimeout
	}
	ctx, p.end = context.WithTimeout(ctx, timeout)
	return ctx
}

// PrepareAfter prepares the poll. kine's own function keeps its connection after an error. After a few
// outages the pool would have none left, and all requests would wait without an end.
func (d *sqlDialect) PrepareAfter(ctx context.Context, limit int64) (*query.Stmt, error) {
	ctx = d.poll.nextPollContext(ctx)
	d.poll.prepared = d.poll.left.Load()
	conn, err := d.DB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	named := d.AfterAllOldValSQL.WithLimit(limit)
	stmt, err := conn.PrepareContext(ctx, named.Query)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &query.Stmt{Named: named, Conn: conn, Stmt: stmt}, nil
}

// QueryAfter polls for writes, in a bounded time. A proxy may keep a connection open whose server is gone.
// All watches would wait for it.
func (d *sqlDialect) QueryAfter(ctx context.Context, stmt *query.Stmt, revision int64) (*sql.Rows, error) {
	if d.poll.left.Load() != d.poll.prepared {
		_ = stmt.Conn.Raw(func(any) error { return driver.ErrBadConn }) // The pool does not get it back.
		return nil, errServerLeft
	}
	return d.Generic.QueryAfter(d.poll.nextPollContext(ctx), stmt, revision)
}

// leaveServer closes all connections that are not in use, and that of the poll. After a failover they would
// read from the server of before, or never write again.
func (d *sqlDialect) leaveServer() {
	d.DB.SetMaxIdleConns(0)
	d.DB.SetMaxIdleConns(extraConnections)
	d.poll.left.Add(1)
}
