package pccs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// IntelURL is Intel's own service. It needs no key for collateral.
const IntelURL = "https://api.trustedservices.intel.com/sgx/certification/v4/"

// intelRootCRL is the CRL distribution point of Intel's SGX Root CA: Intel's API has no path for it.
const intelRootCRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"

// apiPath ends every base URL; apiPathV3 ends one where ClientOptions.AllowAPIv3 is set.
const (
	apiPath   = "/sgx/certification/v4/"
	apiPathV3 = "/sgx/certification/v3/"
)

// Network says from where Alibaba Cloud's service is asked.
type Network string

// Networks.
const (
	NetworkPublic Network = "public" // over the internet
	NetworkVPC    Network = "vpc"    // from an instance in the same region
)

// alibabaRegions are the regions that have a service, from
// https://www.alibabacloud.com/help/en/ecs/user-guide/build-an-sgx-encrypted-computing-environment.
var alibabaRegions = []string{
	"ap-southeast-1", "ap-southeast-5", "cn-beijing", "cn-chengdu", "cn-guangzhou", "cn-hangzhou", "cn-heyuan",
	"cn-hongkong", "cn-qingdao", "cn-shanghai", "cn-shenzhen", "cn-wulanchabu", "cn-zhangjiakou",
}

// AlibabaRegions lists the regions that [AlibabaURL] knows.
func AlibabaRegions() []string { return slices.Clone(alibabaRegions) }

// AlibabaURL returns the address of Alibaba Cloud's collateral service in a region. Collateral belongs to a family of
// processors and not to a region, so any region's service will do for a verifier.
func AlibabaURL(region string, network Network) (string, error) {
	if !slices.Contains(alibabaRegions, region) {
		return "", fmt.Errorf("find collateral service: region %q is not among %s; for a newer region give the service's URL",
			region, strings.Join(alibabaRegions, ", "))
	}
	switch network {
	case NetworkPublic, "":
		return "https://sgx-dcap-server." + region + ".aliyuncs.com" + apiPath, nil
	case NetworkVPC:
		return "https://sgx-dcap-server-vpc." + region + ".aliyuncs.com" + apiPath, nil
	default:
		return "", fmt.Errorf("find collateral service: network is %q, want %q or %q", network, NetworkPublic, NetworkVPC)
	}
}

// NormalizeURL completes the address of a collateral service: a bare host, a host with a port, a URL without path and
// the full path are all understood, and the answer ends in "/sgx/certification/v4/". Plain http is accepted for
// loopback addresses only.
func NormalizeURL(raw string) (string, error) {
	u, err := parseBase(raw, false)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

func parseBase(raw string, allowV3 bool) (*url.URL, error) {
	fail := func(format string, a ...any) (*url.URL, error) {
		return nil, fmt.Errorf("read collateral service URL %q: %w", redactURL(raw), fmt.Errorf(format, a...))
	}
	if raw == "" {
		return fail("it is empty")
	}
	text := raw
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		// The parser's error repeats the URL, which may hold a password.
		var perr *url.Error
		if errors.As(err, &perr) {
			err = perr.Err
		}
		return fail("%w", err)
	}
	switch {
	case u.User != nil:
		return fail("it holds a user name or password, which the service does not take")
	case u.Hostname() == "":
		return fail("it has no host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fail("it has a query or a fragment; give the path up to %s only", apiPath)
	case u.Scheme == "http" && !loopbackName(u.Hostname()):
		return fail("plain http is for loopback addresses only; use https")
	case u.Scheme != "http" && u.Scheme != "https":
		return fail("scheme %q is not https", u.Scheme)
	}
	path := strings.TrimRight(u.Path, "/")
	switch {
	case allowV3 && strings.HasSuffix(path, strings.TrimRight(apiPathV3, "/")):
	case strings.HasSuffix(path, "/sgx/certification/v3"), strings.HasSuffix(path, "/sgx/certification/v2"):
		return fail("that version of the API has been retired and lists no advisories; use %s", apiPath)
	case strings.Contains(path, "/certification/") && !strings.HasSuffix(path, strings.TrimRight(apiPath, "/")):
		return fail("path %s does not end in %s", u.Path, apiPath)
	case !strings.HasSuffix(path, strings.TrimRight(apiPath, "/")):
		path += strings.TrimRight(apiPath, "/")
	}
	u.Path, u.RawPath = path+"/", ""
	return u, nil
}

// loopbackName reports whether a URL's host names this machine by itself, without a resolver's word for it: what
// "localhost" resolves to is held against the same rule when the connection is made.
func loopbackName(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// loopbackAddress reports whether "ip:port", as a dialler connects to it, is on this machine.
func loopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// redactURL drops what comes before an @, for an error text.
func redactURL(raw string) string {
	if i := strings.LastIndex(raw, "@"); i >= 0 {
		scheme := ""
		if j := strings.Index(raw, "://"); j >= 0 && j < i {
			scheme = raw[:j+3]
		}
		return scheme + "[redacted]" + raw[i:]
	}
	return raw
}

// ParseFMSPC reads 12 hex digits of either case.
func ParseFMSPC(s string) (dcap.FMSPC, error) {
	var fmspc dcap.FMSPC
	if len(s) != hex.EncodedLen(len(fmspc)) {
		return fmspc, fmt.Errorf("read FMSPC %q: want 12 hex digits", s)
	}
	if _, err := hex.Decode(fmspc[:], []byte(s)); err != nil {
		return dcap.FMSPC{}, fmt.Errorf("read FMSPC %q: want 12 hex digits", s)
	}
	return fmspc, nil
}
