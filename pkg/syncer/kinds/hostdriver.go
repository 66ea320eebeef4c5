package kinds

import "github.com/sublet-dev/sublet/api/labels"

// hostVolumeDriver is the driver of virtual volumes and snapshot contents for which the tenant sees
// none. No driver has that name: the host mounts the volume and takes the snapshot.
const hostVolumeDriver = labels.Domain + "/host"
