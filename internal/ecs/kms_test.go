package ecs_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// plaintext has characters that URLs and JSON encode, once it is base64.
var plaintext = []byte{0xfb, 0xff, 0xbf, 'c', 'a', 'n', 'a', 'r', 'y', '-', 'k', 'e', 'y', 0xff, 0xff, 0xfe}

// newKey makes a key of KMS with an alias.
func (w *world) newKey(alias string) string {
	w.t.Helper()
	out, err := w.sim.Do("cn-beijing", "CreateKey", nil)
	w.check(err)
	metadata, _ := out["KeyMetadata"].(map[string]any)
	id, _ := metadata["KeyId"].(string)
	_, err = w.sim.Do("cn-beijing", "CreateAlias", map[string]string{"KeyId": id, "AliasName": alias})
	w.check(err)
	return id
}

// kmsLog collects what a client logs.
type kmsLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *kmsLog) log(_ context.Context, message string, fields map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.text, message, fields)
}

func (l *kmsLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// kmsClient is a client that knows where the simulated KMS is.
func (w *world) kmsClient(change func(*ecs.Config)) *ecs.Client {
	w.t.Helper()
	c := w.newClient(func(conf *ecs.Config) {
		conf.Endpoints.KMS = w.endpoint
		if change != nil {
			change(conf)
		}
	})
	w.t.Cleanup(c.Close)
	return c
}

func TestKMSRoundTrip(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Options{})
	id := w.newKey("alias/models")
	var log kmsLog
	c := w.kmsClient(func(conf *ecs.Config) { conf.Log = log.log })
	bound := map[string]string{"model": "resnet50 <&>", "team": `a"b`}
	for _, name := range []string{id, "alias/models", "acs:kms:cn-beijing:1000000000000001:key/" + id} {
		for _, context := range []map[string]string{nil, bound} {
			sealed, err := c.Encrypt(w.ctx(), name, plaintext, context)
			w.check(err)
			if sealed.KeyID != id || sealed.KeyVersionID == "" {
				t.Errorf("%s: sealed by %q %q", name, sealed.KeyID, sealed.KeyVersionID)
			}
			text, err := c.Decrypt(w.ctx(), sealed.CiphertextBlob, context)
			w.check(err)
			if got, err := base64.StdEncoding.DecodeString(string(text)); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%s: another plaintext (%v)", name, err)
			}
		}
	}
	// Whatever goes over the wire is in the body: no proxy's log has it.
	for _, r := range w.sim.Requests() {
		if r.Method != http.MethodPost {
			t.Errorf("%s by %s", r.Action, r.Method)
		}
		for _, name := range r.Query {
			if name == "Plaintext" || name == "CiphertextBlob" || name == "EncryptionContext" || name == "KeyId" {
				t.Errorf("%s has %s in its URL", r.Action, name)
			}
		}
	}
	mustNotTell(t, log.String())
}

// mustNotTell fails if a text has the plaintext in any form.
func mustNotTell(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for _, form := range []string{string(plaintext), base64.StdEncoding.EncodeToString(plaintext), "canary-key", "Y2FuYXJ5LWtle"} {
			if strings.Contains(text, form) {
				t.Errorf("%q tells the plaintext", text)
			}
		}
	}
}

func TestKMSRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Options{})
	id := w.newKey("alias/models")
	c := w.kmsClient(nil)
	sealed, err := c.Encrypt(w.ctx(), id, plaintext, map[string]string{"model": "a"})
	w.check(err)
	do := func(action string) {
		_, err := w.sim.Do("cn-beijing", action, map[string]string{"KeyId": id})
		w.check(err)
	}
	elsewhere := w.kmsClient(func(conf *ecs.Config) { conf.Region = "cn-shanghai" })
	stranger := w.kmsClient(func(conf *ecs.Config) { conf.Credentials.SecretKey = "another+secret/key" })
	decrypt := func(c *ecs.Client, context map[string]string) func() error {
		return func() error {
			text, err := c.Decrypt(w.ctx(), sealed.CiphertextBlob, context)
			if err != nil && text != nil {
				t.Error("there is a plaintext beside the error")
			}
			return err
		}
	}
	encrypt := func(name string, data []byte) func() error {
		return func() error { _, err := c.Encrypt(w.ctx(), name, data, nil); return err }
	}
	good := map[string]string{"model": "a"}
	for _, tt := range []struct {
		name         string
		before       func()
		call         func() error
		says, remedy string
		class        ecs.Class
	}{
		{"no context", nil, decrypt(c, nil), `call Decrypt: InvalidParameter: The specified parameter "CiphertextBlob" is not valid (HTTP 400, request `, "another encryption context", ecs.ClassFinal},
		{"another context", nil, decrypt(c, map[string]string{"model": "b"}), "InvalidParameter", "another encryption context", ecs.ClassFinal},
		{"another region", nil, decrypt(elsewhere, good), "Forbidden.KeyNotFound", "check the region", ecs.ClassFinal},
		{"another secret", nil, decrypt(stranger, good), "SignatureDoesNotMatch", "The secret does not belong to the access key id", ecs.ClassAuth},
		{"unknown key", nil, encrypt("key-none", plaintext), "call Encrypt: Forbidden.KeyNotFound: The specified Key is not found (HTTP 404, request ", "misspelled", ecs.ClassFinal},
		{"unknown alias", nil, encrypt("alias/none", plaintext), "Forbidden.AliasNotFound", "alias/NAME", ecs.ClassFinal},
		{"too much", nil, encrypt(id, make([]byte, ecs.MaxKMSPlaintext+1)), "more than the 6144 that the service takes", "", ecs.ClassFinal},
		{"no permission", func() { w.sim.Inject(ecssim.Refused("Decrypt", http.StatusForbidden, "Forbidden.NoPermission", 1)) }, decrypt(c, good), "Forbidden.NoPermission", "kms:Decrypt", ecs.ClassAuth},
		{"disabled key", func() { do("DisableKey") }, decrypt(c, good), "Rejected.Disabled", "The key is disabled. Enable it", ecs.ClassFinal},
		{"encrypting with it", nil, encrypt(id, plaintext), "Rejected.Disabled", "The key is disabled", ecs.ClassFinal},
		{"key to be deleted", func() { do("ScheduleKeyDeletion") }, decrypt(c, good), "Rejected.PendingDeletion", "Cancel the deletion now", ecs.ClassFinal},
	} {
		if tt.before != nil {
			tt.before()
		}
		err := tt.call()
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.says)
			continue
		}
		if remedy := ecs.RemedyOf(err); !strings.Contains(remedy, tt.remedy) || (remedy == "") != (tt.remedy == "") {
			t.Errorf("%s: remedy %q, want %q", tt.name, remedy, tt.remedy)
		}
		if class := ecs.ClassOf(err); class != tt.class {
			t.Errorf("%s: class %v", tt.name, class)
		}
		mustNotTell(t, fmt.Sprintf("%v %+v %#v", err, err, err), ecs.RemedyOf(err))
	}
	do("EnableKey")
	w.check(decrypt(c, good)())
}

// TestKMSFaults: throttling and cut connections are waited out, and an answer that is not the service's, whatever it holds,
// is not repeated.
func TestKMSFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Options{})
	id := w.newKey("alias/models")
	var log kmsLog
	c := w.kmsClient(func(conf *ecs.Config) { conf.Log = log.log })
	sealed, err := c.Encrypt(w.ctx(), id, plaintext, nil)
	w.check(err)
	w.sim.Inject(ecssim.Throttled("Decrypt", 3), ecssim.Cut("Decrypt", 1), ecssim.Refused("Decrypt", http.StatusServiceUnavailable, "ServiceUnavailableTemporary", 1))
	text, err := c.Decrypt(w.ctx(), sealed.CiphertextBlob, nil)
	w.check(err)
	encoded := base64.StdEncoding.EncodeToString(plaintext)
	if string(text) != encoded {
		t.Error("another plaintext after faults")
	}
	for name, f := range map[string]ecssim.Fault{
		"cut JSON":             {Raw: `{"Plaintext":"` + encoded, RawStatus: http.StatusOK},
		"an array":             {Raw: `{"Plaintext":["` + encoded + `"]}`, RawStatus: http.StatusOK},
		"something behind it":  {Raw: `{"Plaintext":"` + encoded + `"} ` + encoded, RawStatus: http.StatusOK},
		"nothing":              {Raw: `{"RequestId":"r"}`, RawStatus: http.StatusOK},
		"a gateway's page":     {Raw: "<html>" + encoded, RawStatus: http.StatusBadGateway},
		"an error without one": {Raw: `{"Plaintext":"` + encoded + `"}`, RawStatus: http.StatusInternalServerError},
	} {
		f.Action, f.Times = "Decrypt", -1
		w.sim.Inject(f)
		text, err := c.Decrypt(w.ctx(), sealed.CiphertextBlob, nil)
		if err == nil || text != nil {
			t.Errorf("%s: no error", name)
			continue
		}
		mustNotTell(t, fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)), ecs.RemedyOf(err))
		w.sim.ClearFaults()
	}
	// Encrypt's own argument is cut out of what the service says of it.
	w.sim.Inject(ecssim.Fault{Action: "Encrypt", Times: 1, Status: http.StatusBadRequest, Code: "InvalidParameter", Message: "Plaintext " + encoded + " is odd"})
	_, err = c.Encrypt(w.ctx(), id, plaintext, nil)
	if err == nil || !strings.Contains(err.Error(), "Plaintext (redacted) is odd") {
		t.Errorf("error %v", err)
	}
	mustNotTell(t, log.String())
	if !strings.Contains(log.String(), "action:Decrypt") || !strings.Contains(log.String(), "Throttling.User") {
		t.Errorf("the log is blind: %s", log.String())
	}
	// A caller that gives up while the account is throttled is not kept.
	w.sim.Inject(ecssim.Throttled("Decrypt", -1))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Decrypt(ctx, sealed.CiphertextBlob, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// TestKMSEscapedPlaintext: JSON may write "=" and "/" in other ways.
func TestKMSEscapedPlaintext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ecssim.Options{})
	c := w.kmsClient(nil)
	w.sim.Inject(ecssim.Fault{Action: "Decrypt", Raw: `{"Plaintext":"+\/8\u003d","KeyId":3,"RequestId":"r"}`, RawStatus: http.StatusOK})
	id := w.newKey("alias/a")
	sealed, err := c.Encrypt(w.ctx(), id, plaintext, nil)
	w.check(err)
	if text, err := c.Decrypt(w.ctx(), sealed.CiphertextBlob, nil); err != nil || string(text) != "+/8=" {
		t.Errorf("%q, %v", text, err)
	}
}
