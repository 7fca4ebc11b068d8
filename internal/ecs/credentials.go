package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Credentials say who calls and where the proof of it comes from. The first
// source that is set counts, in this order: AccessKey and SecretKey, OIDC,
// Profile, ECSRoleName. AssumeRole is then done with whatever that gave.
//
// Nothing is probed: a machine's metadata service is asked only if a role is
// named, and no profile is read unless one is named.
type Credentials struct {
	AccessKey     string
	SecretKey     string
	SecurityToken string // for temporary keys of STS

	Profile string
	// ProfileFile is the file with the profile, in the JSON of the aliyun
	// command or the ini of the SDKs. When empty, HomeDir's .aliyun/config.json
	// and then .alibabacloud/credentials are looked into.
	ProfileFile string
	HomeDir     string

	ECSRoleName string
	// MetadataURL replaces http://100.100.100.200, for tests: a loopback URL.
	MetadataURL string
	// DisableMetadata forbids asking the metadata service at all.
	DisableMetadata bool

	OIDC       *OIDC
	AssumeRole *AssumeRole
}

// AssumeRole is a RAM role to take on.
type AssumeRole struct {
	RoleARN     string
	SessionName string        // "cc" when empty
	Duration    time.Duration // of a session; 1 h when 0, 15 min at least
	ExternalID  string
	Policy      string // narrows what the session may do
}

// OIDC is a role to take on with a token that an identity provider wrote to a
// file, as in a pod of ACK (RRSA).
type OIDC struct {
	ProviderARN string
	TokenFile   string
	RoleARN     string
	SessionName string
}

// String keeps secrets out of logs.
func (c Credentials) String() string { return "ecs.Credentials(redacted)" }

// GoString is like String, for %#v.
func (c Credentials) GoString() string { return c.String() }

// MarshalJSON keeps secrets out of anything that is serialised.
func (c Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + c.String() + `"`), nil }

// session is a key that signs, until it expires.
type session struct {
	accessKey, secret, token string
	expires                  time.Time // zero: never
}

func (s session) String() string   { return "ecs.session(redacted)" }
func (s session) GoString() string { return s.String() }

// newResolver picks the source. It reads files and makes no call.
func newResolver(c *Client, conf Credentials) (*resolver, error) {
	r, err := pickSource(c, conf)
	if err != nil {
		return nil, fmt.Errorf("find Alibaba Cloud credentials: %w", err)
	}
	if conf.AssumeRole != nil {
		if r, err = r.assuming(c, *conf.AssumeRole); err != nil {
			return nil, fmt.Errorf("find Alibaba Cloud credentials: %w", err)
		}
	}
	return r, nil
}

func pickSource(c *Client, conf Credentials) (*resolver, error) {
	switch {
	case conf.AccessKey != "" || conf.SecretKey != "":
		return static(conf.AccessKey, conf.SecretKey, conf.SecurityToken, "access_key and secret_key")
	case conf.SecurityToken != "":
		return nil, errors.New("there is a security_token without access_key and secret_key")
	case conf.OIDC != nil:
		return oidc(c, *conf.OIDC)
	case conf.Profile != "":
		return fromProfile(c, conf)
	case conf.ECSRoleName != "":
		return fromMetadata(c, conf, conf.ECSRoleName)
	default:
		return nil, errors.New("neither access_key and secret_key, nor OIDC, profile or ecs_role_name is set, in the configuration or in the environment")
	}
}

func static(accessKey, secret, token, source string) (*resolver, error) {
	if accessKey == "" || secret == "" {
		return nil, fmt.Errorf("%s: only one of the two is set", source)
	}
	for _, v := range []string{accessKey, secret, token} {
		if strings.TrimSpace(v) != v {
			return nil, fmt.Errorf("%s: a value starts or ends with white space", source)
		}
	}
	s := session{accessKey: accessKey, secret: secret, token: token}
	return &resolver{source: source, fetch: func(context.Context) (session, error) { return s, nil }}, nil
}

// cliProfile is a profile as the aliyun command keeps it.
type cliProfile struct {
	Name          string `json:"name"`
	Mode          string `json:"mode"`
	AccessKey     string `json:"access_key_id"`
	Secret        string `json:"access_key_secret"`
	Token         string `json:"sts_token"`
	RoleARN       string `json:"ram_role_arn"`
	SessionName   string `json:"ram_session_name"`
	Seconds       int    `json:"expired_seconds"`
	SourceProfile string `json:"source_profile"`
	RoleName      string `json:"ram_role_name"`
	OIDCToken     string `json:"oidc_token_file"`
	OIDCProvider  string `json:"oidc_provider_arn"`
	Policy        string `json:"policy"`
	ExternalID    string `json:"external_id"`
}

// maxProfileFile is the size in bytes above which a file is no profile file.
const maxProfileFile = 1 << 20

func fromProfile(c *Client, conf Credentials) (*resolver, error) {
	files := []string{conf.ProfileFile}
	if conf.ProfileFile == "" {
		if conf.HomeDir == "" {
			return nil, fmt.Errorf("profile %q: the home directory is not known, and shared_credentials_file is not set", conf.Profile)
		}
		files = []string{filepath.Join(conf.HomeDir, ".aliyun", "config.json"), filepath.Join(conf.HomeDir, ".alibabacloud", "credentials")}
	}
	var looked []string
	for _, file := range files {
		data, err := readProfileFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			looked = append(looked, file+" (missing)")
			continue
		}
		if err != nil {
			return nil, err
		}
		profiles, err := parseProfiles(data)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if _, ok := profiles[conf.Profile]; ok {
			p := profileFile{client: c, conf: conf, path: file, profiles: profiles}
			return p.resolve(conf.Profile, nil)
		}
		looked = append(looked, file+" (no such profile)")
	}
	return nil, fmt.Errorf("profile %q is in none of: %s", conf.Profile, strings.Join(looked, ", "))
}

func readProfileFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxProfileFile {
		return nil, fmt.Errorf("read %s: not a file of at most %d bytes", path, maxProfileFile)
	}
	return os.ReadFile(path)
}

// parseProfiles reads either of the two formats. Errors quote nothing of the
// file: it is full of secrets.
func parseProfiles(data []byte) (map[string]cliProfile, error) {
	if !strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		return parseINI(string(data))
	}
	var file struct {
		Profiles []cliProfile `json:"profiles"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("no JSON at byte %d", syntax.Offset)
		}
		return nil, errors.New("JSON, but not of the aliyun command")
	}
	all := map[string]cliProfile{}
	for _, p := range file.Profiles {
		all[p.Name] = p
	}
	return all, nil
}

// iniModes translates the SDKs' types to the modes of the aliyun command.
var iniModes = map[string]string{"access_key": "AK", "sts": "StsToken", "ecs_ram_role": "EcsRamRole", "ram_role_arn": "RamRoleArn"}

func parseINI(text string) (map[string]cliProfile, error) {
	all := map[string]cliProfile{}
	var name string
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			if !strings.HasSuffix(line, "]") {
				return nil, fmt.Errorf("line %d: a section that does not end", i+1)
			}
			name = strings.TrimSpace(line[1 : len(line)-1])
			all[name] = cliProfile{Name: name, Mode: "AK"}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		p, inSection := all[name]
		if !ok || !inSection {
			return nil, fmt.Errorf("line %d: neither [SECTION] nor KEY = VALUE in one", i+1)
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.TrimSpace(key) {
		case "type":
			p.Mode = value
			if mode, ok := iniModes[value]; ok {
				p.Mode = mode
			}
		case "access_key_id":
			p.AccessKey = value
		case "access_key_secret":
			p.Secret = value
		case "security_token":
			p.Token = value
		case "role_name":
			p.RoleName = value
		case "role_arn":
			p.RoleARN = value
		case "role_session_name":
			p.SessionName = value
		case "policy":
			p.Policy = value
		}
		all[name] = p
	}
	return all, nil
}

type profileFile struct {
	client   *Client
	conf     Credentials
	path     string
	profiles map[string]cliProfile
}

// resolve follows a profile, and the profiles it builds on; path is the way
// that led to it.
func (f profileFile) resolve(name string, way []string) (*resolver, error) {
	source := fmt.Sprintf("profile %q of %s", name, f.path)
	for _, before := range way {
		if before == name {
			return nil, fmt.Errorf("%s: its source_profile leads back to it", source)
		}
	}
	p, ok := f.profiles[name]
	if !ok {
		return nil, fmt.Errorf("%s does not exist", source)
	}
	role := AssumeRole{RoleARN: p.RoleARN, SessionName: p.SessionName, Duration: time.Duration(p.Seconds) * time.Second, ExternalID: p.ExternalID, Policy: p.Policy}
	switch p.Mode {
	case "AK":
		return static(p.AccessKey, p.Secret, "", source)
	case "StsToken":
		return static(p.AccessKey, p.Secret, p.Token, source)
	case "RamRoleArn":
		r, err := static(p.AccessKey, p.Secret, p.Token, source)
		if err != nil {
			return nil, err
		}
		return r.assuming(f.client, role)
	case "ChainableRamRoleArn":
		r, err := f.resolve(p.SourceProfile, append(way, name))
		if err != nil {
			return nil, err
		}
		r.source = source + ", from " + r.source
		return r.assuming(f.client, role)
	case "EcsRamRole":
		return fromMetadata(f.client, f.conf, p.RoleName)
	case "OIDC":
		return oidc(f.client, OIDC{ProviderARN: p.OIDCProvider, TokenFile: p.OIDCToken, RoleARN: p.RoleARN, SessionName: p.SessionName})
	default:
		return nil, fmt.Errorf("%s has the mode %q; AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole and OIDC are supported. "+
			"For another, get temporary keys with its own tool and hand them over in the environment", source, clip(p.Mode, 40))
	}
}
