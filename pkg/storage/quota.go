package storage

// DefaultQuota is the size in bytes that the database of an [Etcd] may reach
// before it refuses writes.
const DefaultQuota int64 = 2 << 30
