package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// policyYAML is a policy file: the conditions of one of the key server's rules, by the same names, and more.
type policyYAML struct {
	MRENCLAVE    []string         `yaml:"mr_enclave"`
	MRSIGNER     []string         `yaml:"mr_signer"`
	ISVProdID    *uint16          `yaml:"isv_prod_id"`
	MinISVSVN    *uint16          `yaml:"min_isv_svn"`
	TCB          policyTCB        `yaml:"tcb"`
	MaxAge       string           `yaml:"max_age"`
	ConfigID     string           `yaml:"config_id"`
	MinConfigSVN *uint16          `yaml:"min_config_svn"`
	ISVExtProdID string           `yaml:"isv_ext_prod_id"`
	ISVFamilyID  string           `yaml:"isv_family_id"`
	Attributes   policyAttributes `yaml:"attributes"`
	MiscSelect   policyMiscSelect `yaml:"misc_select"`
	ReportData   string           `yaml:"report_data"`
	AllowDebug   bool             `yaml:"allow_debug"`
}

type policyTCB struct {
	Accept              []string            `yaml:"accept"`
	AcceptAdvisories    []string            `yaml:"accept_advisories"`
	StatusAdvisories    map[string][]string `yaml:"status_advisories"`
	MinEvaluationNumber uint32              `yaml:"min_evaluation_number"`
	FMSPC               []string            `yaml:"fmspc"`
	DenyFMSPC           []string            `yaml:"deny_fmspc"`
	AllowTCBInfoV2      bool                `yaml:"allow_tcb_info_v2"`
}

type policyAttributes struct {
	Flags     uint64 `yaml:"flags"`
	FlagsMask uint64 `yaml:"flags_mask"`
	XFRM      uint64 `yaml:"xfrm"`
	XFRMMask  uint64 `yaml:"xfrm_mask"`
}

type policyMiscSelect struct {
	Value uint32 `yaml:"value"`
	Mask  uint32 `yaml:"mask"`
}

func readPolicy(name string) (*dcap.Policy, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p, err := parsePolicy(text)
	if err != nil {
		return nil, withCode(exitUsage, fmt.Errorf("read policy %s: %w", name, err))
	}
	return p, nil
}

func parsePolicy(text []byte) (*dcap.Policy, error) {
	var file policyYAML
	if err := yaml.Load(text, &file, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	p := &dcap.Policy{ISVProdID: file.ISVProdID, MinISVSVN: file.MinISVSVN, MinConfigSVN: file.MinConfigSVN, AllowDebug: file.AllowDebug}
	for _, read := range []func(*dcap.Policy) error{file.measurements, file.age, file.TCB.read, file.kss, file.bits} {
		if err := read(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (f *policyYAML) measurements(p *dcap.Policy) (err error) {
	if p.MRENCLAVE, err = measurements("mr_enclave", f.MRENCLAVE); err != nil {
		return err
	}
	p.MRSIGNER, err = measurements("mr_signer", f.MRSIGNER)
	return err
}

func (f *policyYAML) age(p *dcap.Policy) error {
	if f.MaxAge == "" {
		return nil
	}
	age, err := time.ParseDuration(f.MaxAge)
	if err != nil || age <= 0 {
		return fmt.Errorf("max_age: found %q, want a duration like 168h", f.MaxAge)
	}
	p.MaxCollateralAge = age
	return nil
}

func (t *policyTCB) read(p *dcap.Policy) error {
	p.MinEvaluationNumber, p.AllowTCBInfoV2 = t.MinEvaluationNumber, t.AllowTCBInfoV2
	for _, word := range t.Accept {
		status, err := acceptable("tcb.accept", word)
		if err != nil {
			return err
		}
		p.AcceptStatuses = append(p.AcceptStatuses, status)
	}
	if err := advisories("tcb.accept_advisories", t.AcceptAdvisories); err != nil {
		return err
	}
	p.AcceptAdvisories = t.AcceptAdvisories
	for word, ids := range t.StatusAdvisories {
		status, err := acceptable("tcb.status_advisories", word)
		if err != nil {
			return err
		}
		if err := advisories("tcb.status_advisories."+word, ids); err != nil {
			return err
		}
		if p.StatusAdvisories == nil {
			p.StatusAdvisories = map[dcap.Status][]string{}
		}
		p.StatusAdvisories[status] = ids
	}
	for _, list := range []struct {
		name string
		from []string
		to   *[]dcap.FMSPC
	}{{"tcb.fmspc", t.FMSPC, &p.FMSPCs}, {"tcb.deny_fmspc", t.DenyFMSPC, &p.DenyFMSPCs}} {
		for _, digits := range list.from {
			fmspc, err := pccs.ParseFMSPC(digits)
			if err != nil {
				return fmt.Errorf("%s: %w", list.name, err)
			}
			*list.to = append(*list.to, fmspc)
		}
	}
	return nil
}

func acceptable(name, word string) (dcap.Status, error) {
	status, err := dcap.ParseStatus(word)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if status == dcap.StatusRevoked {
		return "", fmt.Errorf("%s: %s cannot be accepted", name, status)
	}
	return status, nil
}

var advisoryID = regexp.MustCompile(`^INTEL-[A-Z]+-[0-9]+$`)

// advisories refuses what would never match: a misspelt id.
func advisories(name string, ids []string) error {
	for _, id := range ids {
		if !advisoryID.MatchString(id) {
			return fmt.Errorf("%s: found %q, want an id like INTEL-SA-00615", name, id)
		}
	}
	return nil
}

// kss reads the fields of enclaves with key separation and sharing.
func (f *policyYAML) kss(p *dcap.Policy) error {
	for _, field := range []struct {
		name, digits string
		size         int
		set          func([]byte)
	}{
		{"config_id", f.ConfigID, 64, func(b []byte) { p.ConfigID = (*[64]byte)(b) }},
		{"isv_ext_prod_id", f.ISVExtProdID, 16, func(b []byte) { p.ISVExtProdID = (*[16]byte)(b) }},
		{"isv_family_id", f.ISVFamilyID, 16, func(b []byte) { p.ISVFamilyID = (*[16]byte)(b) }},
	} {
		if field.digits == "" {
			continue
		}
		raw, err := hex.DecodeString(field.digits)
		if err != nil || len(raw) != field.size {
			return fmt.Errorf("%s: found %q, want %d hex digits", field.name, field.digits, 2*field.size)
		}
		field.set(raw)
	}
	return nil
}

// bits reads what is compared under a mask. A bit that is wanted and not in its mask would never match.
func (f *policyYAML) bits(p *dcap.Policy) error {
	a, m := f.Attributes, f.MiscSelect
	switch {
	case a.Flags&^a.FlagsMask != 0:
		return fmt.Errorf("attributes: flags %#x has bits that flags_mask %#x leaves out", a.Flags, a.FlagsMask)
	case a.XFRM&^a.XFRMMask != 0:
		return fmt.Errorf("attributes: xfrm %#x has bits that xfrm_mask %#x leaves out", a.XFRM, a.XFRMMask)
	case m.Value&^m.Mask != 0:
		return fmt.Errorf("misc_select: value %#x has bits that mask %#x leaves out", m.Value, m.Mask)
	}
	p.Attributes = quote.Attributes{Flags: a.Flags, XFRM: a.XFRM}
	p.AttributesMask = quote.Attributes{Flags: a.FlagsMask, XFRM: a.XFRMMask}
	p.MiscSelect, p.MiscSelectMask = m.Value, m.Mask
	if f.ReportData == "" {
		return nil
	}
	raw, err := hex.DecodeString(f.ReportData)
	if err != nil || len(raw) > 64 {
		return fmt.Errorf("report_data: found %q, want at most 128 hex digits", f.ReportData)
	}
	p.ReportData = raw
	return nil
}

func measurements(name string, digits []string) ([][32]byte, error) {
	var all [][32]byte
	for _, s := range digits {
		raw, err := hex.DecodeString(s)
		if err != nil || len(raw) != len(quote.ReportBody{}.MRENCLAVE) {
			return nil, fmt.Errorf("%s: found %q, want 64 hex digits", name, s)
		}
		all = append(all, [32]byte(raw))
	}
	return all, nil
}
