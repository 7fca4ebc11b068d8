package ecssim

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // The protocol signs with HMAC-SHA1.
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// params are the arguments of a call, from query and body.
type params map[string]string

// maxBody is what a request may carry, in bytes.
const maxBody = 1 << 20

// secretParams are left out of the log.
var secretParams = []string{"Password", "UserData", "CommandContent", "SecurityToken", "Signature", "OIDCToken", "Plaintext"}

func readParams(w http.ResponseWriter, r *http.Request, entry *Request) (params, error) {
	p := params{}
	if r.URL.Path != "/" {
		return p, refuse(http.StatusNotFound, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return p, refuse(http.StatusMethodNotAllowed, "UnsupportedHTTPMethod", "This http method is not supported.")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return p, refuse(http.StatusBadRequest, "InvalidParameter", "The query string is not well formed.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return p, refuse(http.StatusBadRequest, "InvalidParameter", "The body is not well formed or too long.")
	}
	for k, v := range query {
		p[k] = v[0]
		entry.Query = append(entry.Query, k)
	}
	for k, v := range r.PostForm {
		p[k] = v[0]
		entry.Form = append(entry.Form, k)
	}
	slices.Sort(entry.Query)
	slices.Sort(entry.Form)
	return p, nil
}

func (p params) redacted() map[string]string {
	out := make(map[string]string, len(p))
	for k, v := range p {
		if slices.Contains(secretParams, k) {
			v = "(" + strconv.Itoa(len(v)) + " characters)"
		}
		out[k] = v
	}
	return out
}

// commonParams are those that say nothing of what is asked for.
var commonParams = []string{"AccessKeyId", "Signature", "SignatureMethod", "SignatureNonce", "SignatureType", "SignatureVersion", "SecurityToken", "Timestamp", "Format", "RegionId"}

// arguments is what tells two calls with one ClientToken apart.
func (p params) arguments() string {
	keys := make([]string, 0, len(p))
	for k := range p {
		if !slices.Contains(commonParams, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k + "=" + p[k] + "\n")
	}
	return b.String()
}

// list returns NAME.1, NAME.2 and so on, or the elements of a JSON array in
// NAME, both of which the protocol knows.
func (p params) list(name string) ([]string, error) {
	if v := p[name]; v != "" {
		var out []string
		if err := json.Unmarshal([]byte(v), &out); err != nil {
			if strings.HasPrefix(v, "[") {
				return nil, refuse(http.StatusBadRequest, "Invalid"+name+".Malformed", "The specified %s is not a JSON array of strings.", name)
			}
			return []string{v}, nil
		}
		return out, nil
	}
	var out []string
	for i := 1; ; i++ {
		v, ok := p[fmt.Sprintf("%s.%d", name, i)]
		if !ok {
			return out, nil
		}
		out = append(out, v)
	}
}

// structs returns NAME.1.FIELD and so on, a map each.
func (p params) structs(name string) []params {
	var out []params
	for i := 1; ; i++ {
		prefix := fmt.Sprintf("%s.%d.", name, i)
		item := params{}
		for k, v := range p {
			if field, ok := strings.CutPrefix(k, prefix); ok {
				item[field] = v
			}
		}
		if len(item) == 0 {
			return out
		}
		out = append(out, item)
	}
}

func (p params) need(names ...string) error {
	for _, n := range names {
		if p[n] == "" {
			return refuse(http.StatusBadRequest, "MissingParameter", "The input parameter %q that is mandatory for processing this request is not supplied.", n)
		}
	}
	return nil
}

func (p params) int(name string, byDefault, low, high int) (int, error) {
	v := p[name]
	if v == "" {
		return byDefault, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, refuse(http.StatusBadRequest, "Invalid"+name+".ValueNotSupported", "The specified %s is not between %d and %d.", name, low, high)
	}
	return n, nil
}

// page cuts a list as MaxResults and NextToken, or PageNumber and PageSize,
// ask for.
func page[T any](p params, all []T, most int) (part []T, meta reply, err error) {
	size, err := p.int("PageSize", 10, 1, most)
	if err != nil {
		return nil, nil, err
	}
	number, err := p.int("PageNumber", 1, 1, 1<<20)
	if err != nil {
		return nil, nil, err
	}
	from, next := (number-1)*size, ""
	if p["MaxResults"] != "" || p["NextToken"] != "" {
		if size, err = p.int("MaxResults", 10, 1, most); err != nil {
			return nil, nil, err
		}
		from = 0
		if token := p["NextToken"]; token != "" {
			raw, err := base64.RawURLEncoding.DecodeString(token)
			if err != nil {
				return nil, nil, refuse(http.StatusBadRequest, "InvalidParameter.NextToken", "The specified NextToken is not valid.")
			}
			if from, err = strconv.Atoi(strings.TrimPrefix(string(raw), "from ")); err != nil || from < 0 {
				return nil, nil, refuse(http.StatusBadRequest, "InvalidParameter.NextToken", "The specified NextToken is not valid.")
			}
		}
		if from+size < len(all) {
			next = base64.RawURLEncoding.EncodeToString([]byte("from " + strconv.Itoa(from+size)))
		}
	}
	meta = reply{"TotalCount": len(all), "PageNumber": number, "PageSize": size, "NextToken": next}
	from = min(from, len(all))
	// An empty list is one, and not null: Alibaba's provider takes it for granted.
	return append([]T{}, all[from:min(from+size, len(all))]...), meta, nil
}

// timestampFormat is that of the protocol: UTC, seconds.
const timestampFormat = "2006-01-02T15:04:05Z"

// replayWindow is how far a timestamp may be off, either way.
const replayWindow = 15 * time.Minute

// unsigned are the actions whose proof is in their arguments.
var unsigned = []string{"AssumeRoleWithOIDC"}

// authenticate checks key, token, time, nonce and signature.
func (s *Server) authenticate(method string, c *call) error {
	if slices.Contains(unsigned, c.action) {
		return nil
	}
	p := c.params
	if err := p.need("AccessKeyId", "Signature", "Timestamp", "SignatureNonce"); err != nil {
		return err
	}
	if p["SignatureMethod"] != "HMAC-SHA1" || p["SignatureVersion"] != "1.0" {
		return refuse(http.StatusBadRequest, "InvalidParameter.SignatureMethod", "The signature method or version is not supported.")
	}
	secret, err := s.secretOf(c)
	if err != nil {
		return err
	}
	at, err := time.Parse(timestampFormat, p["Timestamp"])
	if err != nil {
		return refuse(http.StatusBadRequest, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")
	}
	if d := c.now.Sub(at); d > replayWindow || d < -replayWindow {
		return refuse(http.StatusBadRequest, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
	}
	want := stringToSign(method, p)
	if !hmac.Equal([]byte(sign(want, secret)), []byte(p["Signature"])) {
		return refuse(http.StatusBadRequest, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation. server string to sign is:%s", want)
	}
	for nonce, used := range s.nonces {
		if c.now.Sub(used) > 2*replayWindow {
			delete(s.nonces, nonce)
		}
	}
	nonce := p["AccessKeyId"] + " " + p["SignatureNonce"]
	if _, used := s.nonces[nonce]; used {
		return refuse(http.StatusBadRequest, "SignatureNonceUsed", "Specified signature nonce was used already.")
	}
	s.nonces[nonce] = c.now
	return nil
}

// secretOf finds the secret of the caller's key, permanent or temporary.
func (s *Server) secretOf(c *call) (string, error) {
	id, token := c.params["AccessKeyId"], c.params["SecurityToken"]
	temporary := s.state.Sessions[id]
	switch secret, ok := s.opts.Keys[id]; {
	case ok && token == "":
		return secret, nil
	case ok:
		return "", refuse(http.StatusBadRequest, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
	case temporary == nil:
		return "", refuse(http.StatusNotFound, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
	case token == "":
		return "", refuse(http.StatusBadRequest, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
	case token != temporary.Token:
		return "", refuse(http.StatusBadRequest, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
	case c.now.After(temporary.Expires):
		return "", refuse(http.StatusBadRequest, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
	default:
		c.session = temporary
		return temporary.Secret, nil
	}
}

// stringToSign composes what a request's signature covers, after "Request
// signatures" of the ECS API reference.
func stringToSign(method string, p params) string {
	keys := make([]string, 0, len(p))
	for k := range p {
		if k != "Signature" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	pairs := make([]string, len(keys))
	for i, k := range keys {
		pairs[i] = percentEncode(k) + "=" + percentEncode(p[k])
	}
	return method + "&" + percentEncode("/") + "&" + percentEncode(strings.Join(pairs, "&"))
}

// percentEncode encodes everything but RFC 3986's unreserved characters.
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func sign(text, secret string) string {
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// jsonNumber spells a figure as the SDK's floats do.
func jsonNumber(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return f
}
