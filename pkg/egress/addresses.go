package egress

import "net/netip"

// isForbidden reports whether an address is never dialled, whatever is on a list.
func isForbidden(address netip.Addr) bool {
	address = embedded(address.Unmap())
	if !address.IsValid() || address.Zone() != "" || !address.IsGlobalUnicast() {
		// Loopback, link-local, multicast and unspecified addresses, and 255.255.255.255.
		return true
	}
	for _, forbidden := range forbiddenRanges() {
		if forbidden.Contains(address) {
			return true
		}
	}
	return false
}

// forbiddenRanges returns ranges that netip does not know as special.
func forbiddenRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),         // this network
		netip.MustParsePrefix("240.0.0.0/4"),       // reserved
		netip.MustParsePrefix("fd00:ec2::254/128"), // metadata of a cloud, as 169.254.169.254
	}
}

// embedded returns the IPv4 address to which a translator of the network would send an
// IPv6 address. It returns any other address as it is.
func embedded(address netip.Addr) netip.Addr {
	bytes := address.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(address), netip.MustParsePrefix("::/96").Contains(address):
		return netip.AddrFrom4([4]byte(bytes[12:]))
	case netip.MustParsePrefix("2002::/16").Contains(address):
		return netip.AddrFrom4([4]byte(bytes[2:6]))
	}
	return address
}

// isPublic reports whether an address is one of the public internet.
func isPublic(address netip.Addr) bool {
	inner := embedded(address.Unmap())
	return !isForbidden(inner) && !inner.IsPrivate() && !netip.MustParsePrefix("100.64.0.0/10").Contains(inner)
}
