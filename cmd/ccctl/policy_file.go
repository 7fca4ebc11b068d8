package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// policyFile is a policy: the conditions of one of the key server's rules, and what such a rule takes from elsewhere.
type policyFile struct {
	keyserver.RuleConfig `yaml:",inline"`
	MaxAge               keyserver.Duration `yaml:"max_age"`
	ReportData           string             `yaml:"report_data"`
	AllowTCBInfoV2       bool               `yaml:"allow_tcb_info_v2"`
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
	var file policyFile
	if err := yaml.Load(text, &file, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	if file.Name != "" || file.Secret != "" || len(file.ServerName) > 0 {
		return nil, fmt.Errorf("name, secret and server_name are a rule's, and no conditions on a quote: leave them out")
	}
	p, problems := file.Policy()
	if len(problems) > 0 {
		lines := make([]string, len(problems))
		for i, problem := range problems {
			lines[i] = problem.String()
		}
		return nil, fmt.Errorf("%s", strings.Join(lines, "\n  "))
	}
	p.MaxCollateralAge, p.AllowTCBInfoV2 = time.Duration(file.MaxAge), file.AllowTCBInfoV2
	if file.ReportData != "" {
		raw, err := hex.DecodeString(file.ReportData)
		if err != nil || len(raw) > 64 {
			return nil, fmt.Errorf("policy.report_data: found %q, want at most 128 hex digits", file.ReportData)
		}
		p.ReportData = raw
	}
	return p, nil
}
