package v1alpha1

// DevicePolicy limits what ResourceClaims of the tenant may ask of devices of the host. It
// holds for the claims that sync.toHost.resourceClaims copies to the host.
type DevicePolicy struct {
	// Drivers of the host that claims may have parameters for. A driver runs as root on the node, and reads
	// the parameters there: name only those that take them from anybody.
	// Default: []
	ConfigDrivers []string `json:"configDrivers" format:"object-name" unique:"true"`
	// Taints of devices that claims may tolerate. A key may be a prefix that ends with *. "*" allows all.
	// Default: []
	Tolerations []string `json:"tolerations" format:"key-pattern" unique:"true"`
}

// defaultDevicePolicy returns the limits of devices.
func defaultDevicePolicy() DevicePolicy {
	return DevicePolicy{ConfigDrivers: []string{}, Tolerations: []string{}}
}

// deviceCombinations returns the rules about claims of devices. They are of a device class of
// the host. A virtual scheduler looks for a node by its slices.
func deviceCombinations() []Combination {
	const claims, classes, resourceSlices = "sync.toHost.resourceClaims", "sync.fromHost.deviceClasses", "sync.fromHost.resourceSlices"
	return []Combination{
		{
			Name: "claims-without-device-classes", Path: claims + ".enabled", With: []string{classes + ".enabled"},
			Detail: "a claim needs a device class of the host, and none is shown; set " + classes + ".enabled to true, or this to false",
			Violated: func(c *Config) bool {
				return c.Sync.IsEnabled(claims) && !c.Sync.IsEnabled(classes)
			},
		},
		{
			Name: "claims-without-slices", Path: claims + ".enabled",
			With: []string{resourceSlices + ".enabled", "controlPlane.advanced.virtualScheduler.enabled"},
			Detail: "the virtual scheduler finds no devices without the slices of the host; set " + resourceSlices +
				".enabled to true, or this to false",
			Violated: func(c *Config) bool {
				return c.Sync.IsEnabled(claims) && c.ControlPlane.Advanced.VirtualScheduler.Enabled && !c.Sync.IsEnabled(resourceSlices)
			},
		},
	}
}
