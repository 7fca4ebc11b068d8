package pccs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// QCNLPath is where Intel's quote provider library looks for its configuration.
const QCNLPath = "/etc/sgx_default_qcnl.conf"

// MaxQCNL bounds a QCNL configuration, in bytes. Intel's own, comments and all, has about 3 KiB.
const MaxQCNL = 64 << 10

// maxExpireHours is CACHE_MAX_EXPIRY_HOURS of qcnl_config.h: 90 days.
const maxExpireHours = 2160

// QCNL is what Intel's quote provider library is configured with by sgx_default_qcnl.conf.
type QCNL struct {
	PCCSURL           string // where PCK certificates come from, and collateral unless CollateralService is given
	CollateralService string // where collateral comes from; may be empty
	LocalPCKURL       string // asked for PCK certificates before PCCSURL; may be empty
	// APIVersion is "3.0" (the library's default: CRLs as hex of DER), "3.1" (DER), or empty. It is not the version of
	// the HTTP API, which is part of the URLs. Clients here read both encodings.
	APIVersion string
	Update     Update // "standard" unless given
	RetryTimes int
	RetryDelay time.Duration
	// Cache lifetimes; at most 90 days, which is where the library cuts off.
	PCKCacheExpiry        time.Duration
	CollateralCacheExpiry time.Duration
	LocalCacheOnly        bool // take PCK certificates from the library's cache alone
	// Unknown lists keys that no version of the library known here reads; it ignores them.
	Unknown []string
}

// CollateralURL is the service that the library asks for collateral.
func (q *QCNL) CollateralURL() string {
	if q.CollateralService != "" {
		return q.CollateralService
	}
	return q.PCCSURL
}

// ParseQCNL reads a sgx_default_qcnl.conf: JSON with // and /* */ comments, as DCAP 1.14 and later have it, or lines of
// KEY=value before that (qcnl_config.cpp of Intel's SGXDataCenterAttestationPrimitives).
//
// The library ignores what it cannot make sense of, and then asks its default, localhost. Here a value of the wrong
// type, a key given twice and a file without a service are errors, and so is a file that turns the verification of TLS
// certificates off: that is not to be had here.
func ParseQCNL(data []byte) (*QCNL, error) {
	q := &QCNL{Update: UpdateStandard}
	err := q.parse(data)
	if err != nil {
		return nil, fmt.Errorf("read QCNL configuration: %w", err)
	}
	return q, nil
}

func (q *QCNL) parse(data []byte) error {
	if len(data) > MaxQCNL {
		return fmt.Errorf("it is longer than %d bytes", MaxQCNL)
	}
	values, err := qcnlValues(data)
	if err != nil {
		return err
	}
	for _, v := range values {
		if err := q.set(v); err != nil {
			return fmt.Errorf("line %d: %s: %w", v.line, v.key, err)
		}
	}
	if q.CollateralURL() == "" {
		return errors.New("it names no service: set pccs_url (PCCS_URL in the old form)")
	}
	return nil
}

// qcnlValue is one setting. In the old form raw is text, and the key is in the spelling of the new one.
type qcnlValue struct {
	key  string
	raw  []byte
	line int
	json bool
}

func qcnlValues(data []byte) ([]qcnlValue, error) {
	text := bytes.TrimSpace(data)
	var values []qcnlValue
	var err error
	if len(text) > 0 && (text[0] == '{' || text[0] == '/') {
		values, err = qcnlJSON(data)
	} else {
		values, err = qcnlLines(data)
	}
	if err != nil {
		return nil, err
	}
	seen := map[string]int{}
	for _, v := range values {
		if first, twice := seen[v.key]; twice {
			return nil, fmt.Errorf("line %d: %s is given on line %d already", v.line, v.key, first)
		}
		seen[v.key] = v.line
	}
	return values, nil
}

// qcnlLines reads the old form. White space means nothing, not even within a value; keys are in upper case.
func qcnlLines(data []byte) ([]qcnlValue, error) {
	var values []qcnlValue
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.Join(strings.Fields(line), "")
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("line %d: it is neither KEY=value nor JSON, which begins with {", i+1)
		}
		if key != strings.ToUpper(key) {
			return nil, fmt.Errorf("line %d: %q: keys of the form KEY=value are in upper case", i+1, key)
		}
		values = append(values, qcnlValue{key: strings.ToLower(key), raw: []byte(value), line: i + 1})
	}
	return values, nil
}

// qcnlJSON reads the new form.
func qcnlJSON(data []byte) ([]qcnlValue, error) {
	text, err := blankComments(data)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	line := func(offset int64) int { return 1 + bytes.Count(text[:min(int(offset), len(text))], []byte("\n")) }
	explain := func(err error) error {
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &syntax):
			return fmt.Errorf("line %d: %w; check the commas, in Intel's template they stand at the start of a line", line(syntax.Offset), err)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the JSON ends too early")
		}
		return err
	}
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("it is not a JSON object: %w", explain(err))
	}
	var values []qcnlValue
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, explain(err)
		}
		v := qcnlValue{line: line(dec.InputOffset()), json: true}
		v.key, _ = token.(string) // the decoder takes nothing else for a key
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, explain(err)
		}
		v.raw = raw
		values = append(values, v)
	}
	if _, err := dec.Token(); err != nil {
		return nil, explain(err)
	}
	if rest := bytes.TrimSpace(text[dec.InputOffset():]); len(rest) > 0 {
		return nil, fmt.Errorf("line %d: something follows the JSON object", line(dec.InputOffset()))
	}
	return values, nil
}

// blankComments replaces // and /* */ outside of strings by spaces, so that positions stay what they are.
func blankComments(data []byte) ([]byte, error) {
	out := bytes.Clone(data)
	for i := 0; i < len(out); {
		switch rest := out[i:]; {
		case out[i] == '"':
			for i++; i < len(out) && out[i] != '"' && out[i] != '\n'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
			i++
		case bytes.HasPrefix(rest, []byte("//")):
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		case bytes.HasPrefix(rest, []byte("/*")):
			length := bytes.Index(rest[2:], []byte("*/"))
			if length < 0 {
				return nil, fmt.Errorf("line %d: the comment has no end", 1+bytes.Count(data[:i], []byte("\n")))
			}
			for end := i + length + 4; i < end; i++ {
				if out[i] != '\n' {
					out[i] = ' '
				}
			}
		default:
			i++
		}
	}
	return out, nil
}

func (q *QCNL) set(v qcnlValue) error {
	var err error
	switch v.key {
	case "pccs_url":
		q.PCCSURL, err = v.text()
	case "collateral_service":
		q.CollateralService, err = v.text()
	case "local_pck_url":
		q.LocalPCKURL, err = v.text()
	case "use_secure_cert":
		var secure bool
		if secure, err = v.bool(); err == nil && !secure {
			err = errors.New("it is false, which lets anybody answer in the service's place; TLS certificates are always " +
				"verified here: set it to true, and give the service's own authority in a file if it has one")
		}
	case "pccs_api_version":
		if q.APIVersion, err = v.text(); err == nil && q.APIVersion != "3.0" && q.APIVersion != "3.1" {
			err = fmt.Errorf("found %q, want 3.0 or 3.1", q.APIVersion)
		}
	case "tcb_update_type":
		var word string
		word, err = v.text()
		if q.Update = Update(word); err == nil && q.Update != UpdateStandard && q.Update != UpdateEarly {
			err = fmt.Errorf("found %q, want %s or %s", word, UpdateStandard, UpdateEarly)
		}
	case "retry_times":
		var n float64
		n, err = v.number(1 << 16)
		q.RetryTimes = int(n)
	case "retry_delay":
		var n float64
		n, err = v.number(1 << 16)
		q.RetryDelay = time.Duration(n) * time.Second
	case "pck_cache_expire_hours":
		q.PCKCacheExpiry, err = v.hours()
	case "verify_collateral_cache_expire_hours":
		q.CollateralCacheExpiry, err = v.hours()
	case "local_cache_only":
		q.LocalCacheOnly, err = v.bool()
	case "custom_request_options":
		// Headers and arguments of requests for PCK certificates, which are none of ours.
		if !v.json || len(v.raw) == 0 || v.raw[0] != '{' {
			err = fmt.Errorf("found %s, want an object", v.shown())
		}
	default:
		q.Unknown = append(q.Unknown, v.key)
	}
	return err
}

// shown is a value for an error text; a URL in it may hold a password.
func (v qcnlValue) shown() string {
	if len(v.raw) > 40 || bytes.ContainsRune(v.raw, '@') {
		return "another value"
	}
	return string(v.raw)
}

func (v qcnlValue) text() (string, error) {
	s := string(v.raw)
	if v.json && json.Unmarshal(v.raw, &s) != nil {
		return "", fmt.Errorf("found %s, want a string", v.shown())
	}
	return strings.TrimSpace(s), nil
}

func (v qcnlValue) bool() (bool, error) {
	switch s := string(v.raw); {
	case s == "true", s == "TRUE" && !v.json:
		return true, nil
	case s == "false", s == "FALSE" && !v.json:
		return false, nil
	case v.json:
		return false, fmt.Errorf("found %s, want true or false without quotes", v.shown())
	}
	return false, fmt.Errorf("found %s, want TRUE or FALSE", v.shown())
}

func (v qcnlValue) number(limit float64) (float64, error) {
	n, err := strconv.ParseFloat(string(v.raw), 64)
	if err != nil || !(n >= 0 && n <= limit) {
		return 0, fmt.Errorf("found %s, want a number from 0 to %.0f", v.shown(), limit)
	}
	return n, nil
}

func (v qcnlValue) hours() (time.Duration, error) {
	n, err := v.number(1e6)
	return time.Duration(min(n, maxExpireHours) * float64(time.Hour)), err
}
