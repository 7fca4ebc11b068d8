package deploy

import (
	"fmt"
	"net/netip"
	"strings"
)

// ValidCIDR tells whether s is a CIDR block in the one spelling that the cloud
// stores: no host bits, the shortest form. Another spelling would come back
// changed, and look like drift for ever.
func ValidCIDR(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if addr, err := netip.ParseAddr(s); err == nil {
			return fmt.Errorf("%q is an address; as a CIDR block it is %s", s, netip.PrefixFrom(addr, addr.BitLen()))
		}
		return fmt.Errorf("%q is not a CIDR block such as 192.0.2.0/24 or 2001:db8::/32", s)
	}
	if p.Addr().Is4In6() {
		return fmt.Errorf("%q is an IPv4 block in IPv6 spelling", s)
	}
	if canonical := p.Masked().String(); canonical != s {
		return fmt.Errorf("%q is not in canonical form; write %s", s, canonical)
	}
	return nil
}

// OpenToTheWorld tells whether a CIDR block is all of IPv4 or IPv6.
func OpenToTheWorld(cidr string) bool { return strings.HasSuffix(cidr, "/0") }
