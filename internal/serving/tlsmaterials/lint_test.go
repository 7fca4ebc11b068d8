package tlsmaterials

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	zcrypto "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

// lintExceptions are the lints that certificates of a private authority rightly fail, each with the reason. All of them
// belong to the rules of public authorities, or to the address that old Gramine clients want as a DNS name.
var lintExceptions = map[string]string{
	// CA/Browser Forum Baseline Requirements, made for authorities that browsers trust.
	"e_ca_country_name_missing":                                     "a private authority has no country",
	"e_ca_organization_name_missing":                                "a private authority has no organisation",
	"n_ca_digital_signature_not_set":                                "there are no OCSP responses to sign",
	"w_root_ca_basic_constraints_path_len_constraint_field_present": "path length 0 is meant: the authority issues leaves only",
	"e_sub_cert_aia_missing":                                        "there is no OCSP service to name: revocation is by short life",
	"w_sub_cert_aia_does_not_contain_issuing_ca_url":                "the authority's certificate travels with the leaf",
	"e_missing_crl_distrib_point":                                   "there is no CRL: revocation is by short life",
	"e_sub_cert_certificate_policies_missing":                       "a private authority has no policy identifiers",
	"e_sub_cert_cert_policy_empty":                                  "a private authority has no policy identifiers",
	"n_ct_sct_policy_count_unsatisfied":                             "private certificates are not logged",
	"w_subject_common_name_included":                                "clients that know no subject alternative names look at it",
	"w_ext_subject_key_identifier_not_recommended_subscriber":       "RFC 5280, section 4.2.1.2, recommends it for leaves",
	"e_ext_san_contains_reserved_ip":                                "servers here live in private networks",
	"e_subject_contains_reserved_ip":                                "servers here live in private networks",
	"n_san_iana_pub_suffix_empty":                                   "localhost is a name servers have in tests",
	"e_dnsname_not_valid_tld": "localhost has no public top-level domain; nor has the IPv4 address that the mbedTLS of Gramine " +
		"before 1.8 compares with DNS names only",
}

// TestLint runs every lint of zlint over every kind of certificate we issue.
func TestLint(t *testing.T) {
	used := map[string]bool{}
	for name, pair := range lintSubjects(t) {
		c, err := zcrypto.ParseCertificate(pair.Certificate.Raw)
		if err != nil {
			t.Errorf("%s: zcrypto does not parse it: %v", name, err)
			continue
		}
		results := zlint.LintCertificate(c).Results
		if len(results) < 200 {
			t.Fatalf("%s: only %d lints ran", name, len(results))
		}
		for id, r := range results {
			if r.Status < lint.Notice {
				continue
			}
			if lintExceptions[id] == "" {
				t.Errorf("%s: %s: %s %s", name, r.Status, id, r.Details)
			}
			used[id] = true
		}
	}
	var stale []string
	for id := range lintExceptions {
		if !used[id] {
			stale = append(stale, id)
		}
	}
	if diff := cmp.Diff([]string(nil), stale); diff != "" {
		t.Errorf("exceptions that except nothing: %s", diff)
	}
}

// lintSubjects has every kind of certificate in every algorithm, and leaves whose authority has another one. Leaves of
// one algorithm share a key: those of RSA take seconds to make, and no lint compares two certificates.
func lintSubjects(t *testing.T) map[string]*KeyPair {
	t.Helper()
	subjects := map[string]*KeyPair{}
	authorities, keys := map[KeyAlgorithm]*KeyPair{}, map[KeyAlgorithm]PrivateKey{}
	for _, algorithm := range KeyAlgorithms() {
		authorities[algorithm] = must[*KeyPair](t)(NewAuthority(AuthorityRequest{KeyAlgorithm: algorithm, At: testTime}))
		subjects["authority "+string(algorithm)] = authorities[algorithm]
		keys[algorithm] = must[PrivateKey](t)(GenerateKey(algorithm))
	}
	for _, algorithm := range KeyAlgorithms() {
		for by, ca := range authorities {
			issue := func(label string, usage Usage, names ...string) {
				subjects[fmt.Sprintf("%s %s of %s", label, algorithm, by)] = must[*KeyPair](t)(ca.issueFor(LeafRequest{
					Usage: usage, Names: names, KeyAlgorithm: algorithm, At: testTime, Lifetime: 90 * 24 * time.Hour,
				}, func(a KeyAlgorithm) (PrivateKey, error) { return keys[a], nil }))
			}
			issue("server", Server, "grpc.tf-serving.service.com", "localhost")
			issue("client", Client, "client.tf-serving.service.com")
			issue("wildcard", Server, "*.example.com")
			issue("address", Server, "10.0.0.1", "2001:db8::1")
			issue("long", Server, strings.Repeat("a", 63)+".example.com")
		}
	}
	if want := 3 + 3*3*5; len(subjects) != want {
		t.Fatalf("%d certificates, want %d", len(subjects), want)
	}
	return subjects
}
