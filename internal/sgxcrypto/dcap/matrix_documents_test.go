package dcap_test

import (
	"bytes"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// document is one of the two signed documents: its stage, where its bytes are, how to sign it after substitutions.
type document struct {
	stage string
	other string // a name of the other's stage
	body  func(*lab) *[]byte
	chain func(*lab) *[]byte
	sign  func(*lab, ...string)
	dates func(*lab, func(issued, next *time.Time))
}

func tcbInfoDocument() document {
	return document{
		"tcb_info", "qe_identity",
		func(l *lab) *[]byte { return &l.collateral().TCBInfo },
		func(l *lab) *[]byte { return &l.collateral().TCBInfoIssuerChain },
		(*lab).tcbText,
		func(l *lab, f func(issued, next *time.Time)) {
			l.tcbInfo(func(t *sgxsim.TCBInfo) { f(&t.IssueDate, &t.NextUpdate) })
		},
	}
}

func qeIdentityDocument() document {
	return document{
		"qe_identity", "tcb_info",
		func(l *lab) *[]byte { return &l.collateral().QEIdentity },
		func(l *lab) *[]byte { return &l.collateral().QEIdentityIssuerChain },
		(*lab).qeText,
		func(l *lab, f func(issued, next *time.Time)) {
			l.qeIdentity(func(q *sgxsim.QEIdentity) { f(&q.IssueDate, &q.NextUpdate) })
		},
	}
}

// signed makes an attempt of signed substitutions.
func (d document) signed(reason, name string, oldnew ...string) attempt {
	want := reason
	if want != "ok" && !strings.Contains(want, "/") {
		want = d.stage + "/" + reason
	}
	return attempt{name: name, want: want, make: func(l *lab) { d.sign(l, oldnew...) }}
}

// bytesOf makes an attempt of changed bytes.
func (d document) bytesOf(reason, name string, change func(l *lab, b []byte) []byte) attempt {
	a := d.signed(reason, name)
	a.make = func(l *lab) { body := d.body(l); *body = change(l, bytes.Clone(*body)) }
	return a
}

func (d document) text(reason, name, old, replacement string) attempt {
	return d.bytesOf(reason, name, func(l *lab, b []byte) []byte { return l.replace(b, old, replacement) })
}

func (d document) literal(reason, name, body string) attempt {
	return d.bytesOf(reason, name, func(*lab, []byte) []byte { return []byte(body) })
}

// member removes "name":value, from a document; value ends at the next comma.
func without(b []byte, name string) []byte {
	i := bytes.Index(b, []byte(`"`+name+`":`))
	if i < 0 {
		return nil
	}
	j := i + bytes.IndexByte(b[i:], ',') + 1
	return append(bytes.Clone(b[:i]), b[j:]...)
}

// missing removes a member from the signed object.
func (d document) missing(reason, name string) attempt {
	return attempt{name: name + " missing", want: d.stage + "/" + reason, make: func(l *lab) {
		body := d.body(l)
		object := objectOf(*body)
		changed := without(object, name)
		if changed == nil {
			l.tb.Fatalf("no member %q", name)
		}
		d.sign(l, string(object), string(changed))
	}}
}

// objectOf cuts the signed object out of a document.
func objectOf(body []byte) []byte {
	return body[bytes.IndexByte(body[1:], '{')+1 : bytes.LastIndex(body, []byte(`,"signature"`))]
}

// signature changes the text of the signature.
func (d document) signature(reason, name string, change func(string) string) attempt {
	return d.bytesOf(reason, name, func(_ *lab, b []byte) []byte {
		i := bytes.LastIndex(b, []byte(`"signature":"`)) + len(`"signature":"`)
		return []byte(string(b[:i]) + change(string(b[i:len(b)-2])) + `"}`)
	})
}

// envelope are the attempts that both documents share: what is around the signed object.
func (d document) envelope() (member string, format, signature []attempt) {
	member = map[string]string{"tcb_info": "tcbInfo", "qe_identity": "enclaveIdentity"}[d.stage]
	key := `"` + member + `":`
	format = []attempt{
		d.literal("format", "white space", " "),
		d.literal("format", "no JSON", "<html></html>"),
		d.literal("format", "an array", "[]"),
		d.literal("format", "a string", `"x"`),
		d.literal("format", "an empty object", "{}"),
		d.literal("format", "null", "null"),
		d.literal("format", "an open object", `{"`+member+`":{}`),
		d.text("format", "member missing", key, `"x":`),
		d.literal("format", "an array for the object", `{"`+member+`":[],"signature":"`+strings.Repeat("00", 64)+`"}`),
		d.literal("format", "null for the object", `{"`+member+`":null,"signature":"`+strings.Repeat("00", 64)+`"}`),
	}
	signature = []attempt{
		d.text("signature", "missing", `"signature":`, `"sig":`),
		d.bytesOf("signature", "a number", func(_ *lab, b []byte) []byte {
			i := bytes.LastIndex(b, []byte(`"signature":`))
			return append(b[:i], `"signature":7}`...)
		}),
		d.bytesOf("signature", "null", func(_ *lab, b []byte) []byte {
			i := bytes.LastIndex(b, []byte(`"signature":`))
			return append(b[:i], `"signature":null}`...)
		}),
		d.signature("signature", "126 digits", func(s string) string { return s[2:] }),
		d.signature("signature", "127 digits", func(s string) string { return s[1:] }),
		d.signature("signature", "130 digits", func(s string) string { return s + "00" }),
		d.signature("signature", "not hex", func(s string) string { return "g" + s[1:] }),
		d.signature("signature", "empty", func(string) string { return "" }),
		d.signature("signature", "zero", func(string) string { return strings.Repeat("0", 128) }),
		d.signature("signature", "ones", func(string) string { return strings.Repeat("f", 128) }),
		d.signature("signature", "one bit off", func(s string) string {
			last := map[bool]string{true: "1", false: "0"}[s[127] == '0']
			return s[:127] + last
		}),
	}
	return member, format, signature
}

// chains are the attempts with signing chains that both documents share.
func (d document) chains() (form, subject, issuer, untrusted, dates []attempt) {
	set := func(name, want string, chain func(*lab) []byte) attempt {
		return attempt{name: name, want: want, make: func(l *lab) { *d.chain(l) = chain(l) }}
	}
	bad := d.stage + "/signing_chain"
	p := func(l *lab) *sgxsim.Platform { return l.p }
	form = []attempt{
		set("1 certificate", bad, func(l *lab) []byte { return p(l).TCBSigner.PEM() }),
		set("3 certificates", bad, func(l *lab) []byte { return append(p(l).TCBSigningChain(), p(l).RootPEM()...) }),
		set("not PEM", bad, func(*lab) []byte { return []byte("chain") }),
		set("percent-encoded", bad, func(*lab) []byte { return []byte("-----BEGIN%20CERTIFICATE-----") }),
		set("root first", bad, func(l *lab) []byte { return append(p(l).RootPEM(), p(l).TCBSigner.PEM()...) }),
	}
	subject = []attempt{
		set("PCK CA chain", bad, func(l *lab) []byte { return p(l).PCKCRLChain(sgxsim.CAPlatform) }),
		set("PCK certificate", bad, func(l *lab) []byte { return append(p(l).PCK.PEM(), p(l).RootPEM()...) }),
		set("another name", bad, func(l *lab) []byte {
			l.p.TCBSigner.Certificate.Subject = l.name("Signer")
			l.resign(l.p.TCBSigner, l.p.Root)
			return p(l).TCBSigningChain()
		}),
	}
	issuer = []attempt{
		set("issuer's name", bad, func(l *lab) []byte {
			l.p.TCBSigner.Certificate.Issuer = l.name("Another Root")
			l.resign(l.p.TCBSigner, l.p.Root)
			return p(l).TCBSigningChain()
		}),
		set("signature", bad, func(l *lab) []byte {
			l.resign(l.p.TCBSigner, l.p.PlatformCA)
			return p(l).TCBSigningChain()
		}),
		set("signer is a CA", bad, func(l *lab) []byte {
			l.p.TCBSigner.Certificate.Extension(sgxsim.OIDBasicConstraints).Value = []byte{0x30, 3, 1, 1, 0xff}
			l.resign(l.p.TCBSigner, l.p.Root)
			return p(l).TCBSigningChain()
		}),
	}
	foreign := func(l *lab, other *sgxsim.Platform) {
		// The other platform's own document under its own chain: consistent, and nothing to do with this root.
		c, err := other.Collateral(labTime)
		l.must(err)
		if d.stage == "tcb_info" {
			l.collateral().TCBInfo, l.collateral().TCBInfoIssuerChain = c.TCBInfo, c.TCBInfoIssuerChain
		} else {
			l.collateral().QEIdentity, l.collateral().QEIdentityIssuerChain = c.QEIdentity, c.QEIdentityIssuerChain
		}
	}
	untrusted = []attempt{
		{name: "not trusted", want: d.stage + "/untrusted_root", make: func(l *lab) { foreign(l, newLab(l.tb, "").p) }},
		{name: "trusted, but not the root of this quote", want: d.stage + "/untrusted_root", make: func(l *lab) {
			other := newLab(l.tb, "").p
			l.trust(l.p, other)
			foreign(l, other)
		}},
	}
	dated := func(name, reason string, change func(c *sgxsim.Certificate)) attempt {
		return set(name, d.stage+"/"+reason, func(l *lab) []byte {
			change(l.p.TCBSigner.Certificate)
			l.resign(l.p.TCBSigner, l.p.Root)
			return p(l).TCBSigningChain()
		})
	}
	dates = []attempt{
		dated("signer expired", "signing_chain_expired", func(c *sgxsim.Certificate) { c.NotAfter = labTime.Add(-time.Second) }),
		dated("signer not yet valid", "not_yet_valid", func(c *sgxsim.Certificate) { c.NotBefore = labTime.Add(time.Second) }),
		set("root expired", d.stage+"/signing_chain_expired", func(l *lab) []byte {
			// The chain ends in an older certificate of the same root key, which is trusted too, and has expired.
			old := l.reissuedRoot(func(c *sgxsim.Certificate) { c.NotAfter = labTime.Add(-time.Second) })
			l.roots = append(l.roots, l.cert(old))
			return append(p(l).TCBSigner.PEM(), old.PEM()...)
		}),
	}
	return form, subject, issuer, untrusted, dates
}

// rename gives attempts the outcome that a row names.
func good(attempts ...attempt) []attempt {
	for i := range attempts {
		attempts[i].want = "ok"
	}
	return attempts
}

func tcbInfoRows() []row {
	d := tcbInfoDocument()
	_, format, signature := d.envelope()
	form, subject, issuer, untrusted, dates := d.chains()
	return append([]row{
		one(94, "collateral_missing/tcb_info", func(l *lab) { l.collateral().TCBInfo = nil }),
		{id: 95, attempts: append(format[:6:6], attempt{name: "nothing", want: "collateral_missing/tcb_info", make: func(l *lab) { l.collateral().TCBInfo = []byte{} }})},
		{id: 96, attempts: format[6:]},
		{id: 97, attempts: signature},
		{id: 98, attempts: []attempt{d.signature("ok", "upper case", strings.ToUpper)}},
		{id: 99, attempts: []attempt{
			d.text("signature", "status", "OutOfDate", "Revoked"),
			d.text("signature", "number", `"tcbEvaluationDataNumber":17`, `"tcbEvaluationDataNumber":18`),
			d.text("signature", "nextUpdate", `"nextUpdate":"2026-04`, `"nextUpdate":"2027-04`),
			d.text("signature", "another member", `{"id":"SGX",`, `{"id":"SGX","x":1,`),
			d.text("signature", "a member repeated", `{"id":"SGX",`, `{"id":"SGX","id":"SGX",`),
		}, run: everyByte},
		{id: 100, attempts: []attempt{d.text("signature", "a space", `"version":3`, `"version": 3`), d.text("signature", "a line end", `"version":3`, "\n\"version\":3")}},
		{id: 101, attempts: good(
			d.bytesOf("", "around", func(_ *lab, b []byte) []byte { return []byte(" " + string(b) + "\r\n") }),
			d.text("", "after the key", `{"tcbInfo":`, "{\n\t\"tcbInfo\" : "),
			d.bytesOf("", "signature first", func(_ *lab, b []byte) []byte {
				i := bytes.LastIndex(b, []byte(`,"signature"`))
				return []byte("{" + string(b[i+1:len(b)-1]) + "," + string(b[1:i]) + "}")
			}),
		)},
		{id: 102, attempts: []attempt{
			d.text("format", "two tcbInfo, the first another", `{"tcbInfo":`, `{"tcbInfo":{},"tcbInfo":`),
			d.bytesOf("format", "two tcbInfo, the last another", func(_ *lab, b []byte) []byte { return append(b[:len(b)-1], `,"tcbInfo":{}}`...) }),
			d.bytesOf("format", "two signatures", func(_ *lab, b []byte) []byte { return append(b[:len(b)-1], `,"signature":""}`...) }),
			d.text("format", "TCBINFO", `{"tcbInfo":`, `{"TCBINFO":`),
			d.text("format", "TCBINFO beside it", `{"tcbInfo":`, `{"TCBINFO":{},"tcbInfo":`),
			d.text("format", "an escaped twin", `{"tcbInfo":`, `{"\u0074cbInfo":{},"tcbInfo":`),
		}},
		{id: 103, attempts: []attempt{
			d.bytesOf("format", "a brace", func(_ *lab, b []byte) []byte { return append(b, '}') }),
			d.bytesOf("format", "another document", func(_ *lab, b []byte) []byte { return append(b, b...) }),
			d.bytesOf("format", "NUL", func(_ *lab, b []byte) []byte { return append(b, 0) }),
			d.bytesOf("format", "more than a megabyte", func(_ *lab, b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 1<<20)...) }),
		}},
		{id: 125, attempts: append(form, attempt{name: "missing", want: "collateral_missing/tcb_info_issuer_chain", make: func(l *lab) { l.collateral().TCBInfoIssuerChain = nil }})[:len(form)], run: missingChain},
		{id: 126, attempts: subject},
		{id: 127, attempts: issuer},
		{id: 128, attempts: untrusted},
		{id: 129, attempts: dates},
		one(130, "root_crl/expired", func(l *lab) { l.rootCRL(func(c *sgxsim.CRL) { c.NextUpdate = labTime.Add(-time.Second) }) }),
		{id: 131, attempts: windowEnd(d)},
		{id: 132, attempts: windowStart(d)},
		{id: 133, attempts: inverted(d)},
		{id: 134, attempts: []attempt{d.bytesOf("format", "QE identity", func(l *lab, _ []byte) []byte { return l.collateral().QEIdentity })}},
	}, tcbInfoFieldRows(d)...)
}

func windowEnd(d document) []attempt {
	end := func(name, want string, t time.Time) attempt {
		return attempt{name: name, want: want, make: func(l *lab) { d.dates(l, func(_, next *time.Time) { *next = t }) }}
	}
	return []attempt{
		end("a second ago", d.stage+"/expired", labTime.Add(-time.Second)),
		end("now", "ok", labTime),
	}
}

func windowStart(d document) []attempt {
	start := func(name, want string, t time.Time) attempt {
		return attempt{name: name, want: want, make: func(l *lab) { d.dates(l, func(issued, _ *time.Time) { *issued = t }) }}
	}
	return []attempt{
		start("in a second", d.stage+"/not_yet_valid", labTime.Add(time.Second)),
	}
}

func inverted(d document) []attempt {
	return []attempt{{name: "dates inverted", want: d.stage + "/date", make: func(l *lab) {
		d.dates(l, func(issued, next *time.Time) { *issued, *next = *next, *issued })
	}}}
}

// everyByte changes each byte of a signed TCB info. Whatever that does to the text, it is never accepted.
func everyByte(t *testing.T) {
	l := newLab(t, "")
	l.p.Standard.Levels = l.p.Standard.Levels[:2]
	good := bytes.Clone(l.collateral().TCBInfo)
	v, err := dcap.NewVerifier(l.roots)
	if err != nil {
		t.Fatal(err)
	}
	object := objectOf(good)
	start := bytes.Index(good, object)
	for i := range object {
		l.collateral().TCBInfo = bytes.Clone(good)
		l.collateral().TCBInfo[start+i] ^= 1 << (i % 8)
		_, err := l.verify(v)
		if got := code(err); got != "tcb_info/signature" && got != "tcb_info/format" {
			t.Fatalf("byte %d (%q): %s", i, object[i], got)
		}
	}
	l.collateral().TCBInfo = good
	if _, err := l.verify(v); err != nil {
		t.Fatal(err)
	}
}

func missingChain(t *testing.T) {
	for name, remove := range map[string]func(*dcap.Collateral){
		"tcb_info_issuer_chain":    func(c *dcap.Collateral) { c.TCBInfoIssuerChain = nil },
		"qe_identity_issuer_chain": func(c *dcap.Collateral) { c.QEIdentityIssuerChain = nil },
		"pck_crl_issuer_chain":     func(c *dcap.Collateral) { c.PCKCRLIssuerChain = nil },
	} {
		l := newLab(t, "")
		remove(l.collateral())
		if _, err := l.verify(nil); code(err) != "collateral_missing/"+name {
			t.Errorf("without %s: %s", name, code(err))
		}
	}
}

func tcbInfoFieldRows(d document) []row {
	const v3 = `"version":3`
	dates := []attempt{
		d.missing("date", "issueDate"),
		d.missing("date", "nextUpdate"),
	}
	for _, bad := range []string{
		`17`, `"2026-03-10"`, `"2026-03-10T00:00:00"`, `"2026-03-10T00:00:00+00:00"`, `"2026-03-10T00:00:00.5Z"`, `"2026-03-10 00:00:00Z"`,
		`"2026-02-31T00:00:00Z"`, `"2026-3-10T00:00:00Z"`, `"2026-03-10T00:00:60Z"`, `"2026-03-10T24:00:00Z"`, `"2026-03-10t00:00:00z"`, `" 026-03-10T00:00:00Z"`, `""`, `null`,
	} {
		dates = append(dates,
			d.signed("date", "issueDate "+bad, `"issueDate":"2026-03-10T00:00:00Z"`, `"issueDate":`+bad),
			d.signed("date", "nextUpdate "+bad, `"nextUpdate":"2026-04-09T00:00:00Z"`, `"nextUpdate":`+bad),
		)
	}
	var fmspc, pceid []attempt
	for _, bad := range []string{`"00606A0000"`, `"00606A00000000"`, `"00606A00000G"`, `"00606A00000"`, `6`, `""`, `null`} {
		fmspc = append(fmspc, d.signed("format", "fmspc "+bad, `"fmspc":"00606A000000"`, `"fmspc":`+bad))
	}
	for _, bad := range []string{`"00"`, `"000000"`, `"000"`, `"00x0"`, `0`, `null`} {
		pceid = append(pceid, d.signed("format", "pceId "+bad, `"pceId":"0000"`, `"pceId":`+bad))
	}
	return []row{
		{id: 104, attempts: []attempt{
			d.signed("version", "1", v3, `"version":1`), d.signed("version", "4", v3, `"version":4`),
			d.signed("version", "text", v3, `"version":"3"`), d.missing("version", "version"),
			d.signed("version", "0", v3, `"version":0`), d.signed("version", "3.0", v3, `"version":3.0`),
			d.signed("range", "2^32+3", v3, `"version":4294967299`), d.signed("range", "2^64+3", v3, `"version":18446744073709551619`),
			d.signed("version", "-3", v3, `"version":-3`), d.signed("version", "null", v3, `"version":null`),
		}},
		{id: 105, attempts: []attempt{{want: "ok", make: func(l *lab) {
			l.tcbInfo(func(t *sgxsim.TCBInfo) { t.Version = 2 })
		}, check: func(t *testing.T, v *dcap.Verdict) {
			if v.TCBInfoVersion != 2 || v.Status != dcap.StatusSWHardeningNeeded || v.TCBInfoEvaluationNumber != 17 {
				t.Errorf("verdict %+v", v)
			}
		}},
			{name: "a component missing", want: "tcb_info/levels", make: v2("sgxtcbcomp07svn", "sgxtcbcomp7svn")},
			{name: "a component too high", want: "tcb_info/range", make: v2(`"sgxtcbcomp05svn":255`, `"sgxtcbcomp05svn":256`)},
			{name: "components of version 3", want: "tcb_info/levels", make: func(l *lab) { l.tcbText(v3, `"version":2`) }},
			{name: "components of version 2 in version 3", want: "tcb_info/levels", make: v2(`"version":2`, `"id":"SGX","version":3`)},
		}},
		{id: 106, attempts: []attempt{
			d.signed("id", "missing", `"id":"SGX",`, ""), d.signed("id", "TDX", `"id":"SGX"`, `"id":"TDX"`),
			d.signed("id", "sgx", `"id":"SGX"`, `"id":"sgx"`), d.signed("id", "a number", `"id":"SGX"`, `"id":1`),
			d.signed("id", "Id", `"id":"SGX"`, `"Id":"SGX"`),
		}},
		{id: 107, attempts: []attempt{
			d.signed("format", "tdxModule", `"id":"SGX",`, `"id":"SGX","tdxModule":{},`),
			d.signed("format", "tdxModuleIdentities", `"id":"SGX",`, `"id":"SGX","tdxModuleIdentities":[],`),
		}},
		{id: 108, attempts: dates},
		{id: 109, attempts: append(fmspc, d.missing("format", "fmspc"))},
		one(110, "ok", func(l *lab) { l.tcbText("00606A000000", "00606a000000") }),
		{id: 111, attempts: append(pceid, d.missing("format", "pceId"))},
		{id: 112, attempts: []attempt{
			d.missing("type", "tcbType"), d.signed("type", "text", `"tcbType":0`, `"tcbType":"0"`), d.signed("type", "1", `"tcbType":0`, `"tcbType":1`),
			d.signed("type", "null", `"tcbType":0`, `"tcbType":null`),
		}},
		{id: 113, attempts: []attempt{
			d.missing("format", "tcbEvaluationDataNumber"),
			d.signed("format", "text", `"tcbEvaluationDataNumber":17`, `"tcbEvaluationDataNumber":"17"`),
			d.signed("format", "negative", `"tcbEvaluationDataNumber":17`, `"tcbEvaluationDataNumber":-1`),
			d.signed("range", "2^32", `"tcbEvaluationDataNumber":17`, `"tcbEvaluationDataNumber":4294967296`),
		}},
		{id: 114, attempts: levelForms(d)},
		{id: 115, attempts: componentCounts()},
		{id: 116, attempts: []attempt{
			d.signed("levels", "negative", `"svn":12`, `"svn":-12`), d.signed("levels", "fraction", `"svn":12`, `"svn":11.0`),
			d.signed("levels", "text", `"svn":12`, `"svn":"11"`), d.signed("levels", "missing", `"svn":12`, `"SVN":12`),
			d.signed("levels", "exponent", `"svn":12`, `"svn":1e1`), d.signed("levels", "null", `"svn":12`, `"svn":null`),
		}},
		{id: 117, attempts: []attempt{d.signed("range", "256", `"svn":12`, `"svn":256`), d.signed("range", "2^64", `"svn":12`, `"svn":18446744073709551616`)}},
		{id: 118, attempts: []attempt{
			d.signed("levels", "missing", `"pcesvn":13`, `"PCESVN":13`), d.signed("levels", "negative", `"pcesvn":13`, `"pcesvn":-1`),
			d.signed("levels", "text", `"pcesvn":13`, `"pcesvn":"13"`), d.signed("range", "70000", `"pcesvn":13`, `"pcesvn":70000`),
			d.signed("range", "65536", `"pcesvn":13`, `"pcesvn":65536`),
		}},
		{id: 119, attempts: []attempt{
			d.signed("status", "unknown", `"SWHardeningNeeded"`, `"Fine"`), d.signed("status", "TDRelaunchAdvised", `"SWHardeningNeeded"`, `"TDRelaunchAdvised"`),
			d.signed("status", "missing", `"tcbStatus"`, `"status"`), d.signed("status", "a number", `"SWHardeningNeeded"`, `1`),
			d.signed("status", "lower case", `"SWHardeningNeeded"`, `"swHardeningNeeded"`), d.signed("status", "of a level not reached by anyone", `"OutOfDateConfigurationNeeded"`, `"X"`),
		}},
		{id: 120, attempts: []attempt{
			{name: "same status", want: "tcb_info/duplicate", make: func(l *lab) {
				l.tcbInfo(func(t *sgxsim.TCBInfo) { t.Levels = append(t.Levels, t.Levels[0]) })
			}},
			{name: "other status", want: "tcb_info/duplicate", make: func(l *lab) {
				l.tcbInfo(func(t *sgxsim.TCBInfo) {
					twin := t.Levels[1]
					twin.Status = "UpToDate"
					t.Levels = append(t.Levels, twin)
				})
			}},
			{name: "another PCESVN", want: "ok", make: func(l *lab) {
				l.tcbInfo(func(t *sgxsim.TCBInfo) {
					lower := t.Levels[0]
					lower.PCESVN--
					t.Levels = append(t.Levels, lower)
				})
			}},
		}},
		{id: 121, attempts: []attempt{
			d.signed("date", "missing", `"tcbDate"`, `"date"`), d.signed("date", "format", `"tcbDate":"2024-03-13T00:00:00Z"`, `"tcbDate":"2024-03-13"`),
			d.signed("date", "a number", `"tcbDate":"2024-03-13T00:00:00Z"`, `"tcbDate":20240313`),
		}},
		{id: 122, attempts: []attempt{
			d.signed("format", "a string", `["INTEL-SA-00615"]`, `"INTEL-SA-00615"`), d.signed("format", "a number in it", `["INTEL-SA-00615"]`, `["INTEL-SA-00615",615]`),
			d.signed("format", "null", `["INTEL-SA-00615"]`, `null`), d.signed("format", "an object", `["INTEL-SA-00615"]`, `{}`),
		}},
		{id: 123, attempts: []attempt{{want: "ok", make: func(l *lab) {
			l.tcbInfo(func(t *sgxsim.TCBInfo) { t.Levels[0].Advisories = nil })
		}, check: func(t *testing.T, v *dcap.Verdict) {
			if len(v.Advisories) != 0 {
				t.Errorf("advisories %v", v.Advisories)
			}
		}}, d.signed("ok", "an empty list", `["INTEL-SA-00615"]`, `[]`)}},
		{id: 124, attempts: []attempt{
			d.signed("ok", "at the top", `"id":"SGX",`, `"id":"SGX","extra":{"a":[1,"x",null]},`), d.signed("ok", "in a level", `"tcbDate"`, `"extra":1,"tcbDate"`),
			d.signed("ok", "in a component", `{"svn":12`, `{"extra":true,"svn":12`),
			d.signed("format", "but no repeated member", `"id":"SGX",`, `"id":"SGX","id":"SGX",`),
			d.signed("format", "nor one deep inside", `{"svn":12`, `{"svn":12,"svn":12`),
			d.signed("format", "nor in a list of lists", `"id":"SGX",`, `"id":"SGX","x":[[{"a":1,"a":2}]],`),
		}},
	}
}

// v2 signs a TCB info of version 2 after a substitution.
func v2(old, replacement string) func(*lab) {
	return func(l *lab) {
		info := l.p.TCBInfo(labTime, l.p.Standard)
		info.Version = 2
		object, err := info.Object()
		l.must(err)
		l.collateral().TCBInfo, err = l.p.TCBSigner.SignJSON("tcbInfo", l.replace(object, old, replacement))
		l.must(err)
	}
}

func levelForms(d document) []attempt {
	set := func(name, value string) attempt {
		return attempt{name: name, want: d.stage + "/levels", make: func(l *lab) {
			object := objectOf(*d.body(l))
			i := bytes.Index(object, []byte(`"tcbLevels":`))
			d.sign(l, string(object[i:]), value+"}")
		}}
	}
	return []attempt{
		set("missing", `"levels":[]`), set("an object", `"tcbLevels":{}`), set("empty", `"tcbLevels":[]`), set("null", `"tcbLevels":null`),
		set("numbers", `"tcbLevels":[1]`), set("arrays", `"tcbLevels":[[]]`),
		d.signed("levels", "without tcb", `{"tcb":{`, `{"TCB":{`), d.signed("levels", "tcb an array", `"tcb":{`, `"tcb":[],"x":{`),
	}
}

func componentCounts() []attempt {
	d := tcbInfoDocument()
	// The last of the 16 of the first level.
	const last = `{"svn":0}],"pcesvn":13},"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"SWHardeningNeeded"`
	short := strings.TrimPrefix(last, `{"svn":0}`)
	return []attempt{
		{name: "15", want: "tcb_info/levels", make: func(l *lab) { l.tcbText(","+last, short) }},
		{name: "17", want: "tcb_info/levels", make: func(l *lab) { l.tcbText(last, `{"svn":0},`+last) }},
		d.signed("levels", "missing", `"sgxtcbcomponents"`, `"components"`),
		d.signed("levels", "a number", `"sgxtcbcomponents":[`, `"sgxtcbcomponents":1,"x":[`),
		d.signed("levels", "null among them", `{"svn":0},{"svn":0}`, `null,{"svn":0}`),
	}
}

func qeIdentityRows() []row {
	d := qeIdentityDocument()
	_, format, signature := d.envelope()
	form, subject, issuer, untrusted, dates := d.chains()
	const version = `"version":2`
	fields := []struct{ name, value string }{
		{"miscselect", "00000000"}, {"miscselectMask", "FFFFFFFF"},
		{"attributes", "11" + strings.Repeat("00", 15)}, {"attributesMask", "FBFFFFFFFFFFFFFF" + strings.Repeat("00", 8)}, {"mrsigner", ""},
	}
	var missing, hexes []attempt
	for _, name := range []string{
		"issueDate", "nextUpdate", "tcbEvaluationDataNumber", "miscselect", "miscselectMask", "attributes", "attributesMask", "mrsigner", "isvprodid",
	} {
		reason := "format"
		if strings.HasSuffix(name, "Date") || name == "nextUpdate" {
			reason = "date"
		}
		missing = append(missing, d.missing(reason, name))
	}
	missing = append(missing, d.signed("levels", "tcbLevels missing", `"tcbLevels"`, `"levels"`))
	for _, f := range fields {
		for name, change := range map[string]func(string) string{
			"too short": func(s string) string { return `"` + s[2:] + `"` }, "too long": func(s string) string { return `"` + s + `00"` },
			"not hex": func(s string) string { return `"x` + s[1:] + `"` }, "not a string": func(string) string { return "7" },
		} {
			hexes = append(hexes, attempt{name: f.name + " " + name, want: "qe_identity/format", make: func(l *lab) {
				value := f.value
				if value == "" {
					value = l.p.QE.MRSIGNER.String()
				}
				l.qeText(`"`+f.name+`":"`+value+`"`, `"`+f.name+`":`+change(value))
			}})
		}
	}
	return []row{
		one(135, "collateral_missing/qe_identity", func(l *lab) { l.collateral().QEIdentity = nil }),
		{id: 136, attempts: format},
		{id: 137, attempts: signature},
		{id: 138, attempts: []attempt{
			d.text("signature", "status", "OutOfDate", "UpToDate"), d.text("signature", "number", `Number":17`, `Number":99`),
			d.text("signature", "white space", version, `"version": 2`),
		}},
		{id: 139, attempts: []attempt{
			d.signed("version", "1", version, `"version":1`), d.signed("version", "3", version, `"version":3`),
			d.signed("version", "text", version, `"version":"2"`), d.missing("version", "version"),
		}},
		{id: 140, attempts: []attempt{
			d.signed("id", "missing", `"id":"QE",`, ""), d.signed("id", "a number", `"id":"QE"`, `"id":1`), d.signed("id", "unknown", `"id":"QE"`, `"id":"Q"`),
			d.signed("id", "lower case", `"id":"QE"`, `"id":"qe"`), d.signed("id", "SGX", `"id":"QE"`, `"id":"SGX"`),
		}},
		{id: 141, attempts: []attempt{d.signed("mismatch", "TD_QE", `"id":"QE"`, `"id":"TD_QE"`), d.signed("mismatch", "QVE", `"id":"QE"`, `"id":"QVE"`)}},
		{id: 142, attempts: missing},
		{id: 143, attempts: append(hexes,
			d.signed("format", "isvprodid a string", `"isvprodid":1`, `"isvprodid":"1"`), d.signed("range", "isvprodid 65537", `"isvprodid":1`, `"isvprodid":65537`))},
		{id: 144, attempts: append(levelForms(d),
			d.signed("levels", "without isvsvn", `"isvsvn":8`, `"svn":8`), d.signed("levels", "isvsvn negative", `"isvsvn":8`, `"isvsvn":-8`),
			d.signed("range", "isvsvn 65544", `"isvsvn":8`, `"isvsvn":65544`),
			d.signed("date", "without tcbDate", `"tcbDate"`, `"date"`), d.signed("status", "without tcbStatus", `"tcbStatus"`, `"status"`))},
		{id: 145, attempts: []attempt{
			d.signed("status", "SWHardeningNeeded", `"UpToDate"`, `"SWHardeningNeeded"`), d.signed("status", "unknown", `"UpToDate"`, `"Good"`),
			d.signed("status", "ConfigurationAndSWHardeningNeeded", `"UpToDate"`, `"ConfigurationAndSWHardeningNeeded"`),
		}},
		{id: 146, attempts: []attempt{
			{name: "ascending", want: "ok", make: func(l *lab) {
				l.qeIdentity(func(q *sgxsim.QEIdentity) { q.Levels[0], q.Levels[1] = q.Levels[1], q.Levels[0] })
			}, check: func(t *testing.T, v *dcap.Verdict) {
				if v.QEStatus != dcap.StatusUpToDate {
					t.Errorf("QE status %s", v.QEStatus)
				}
			}},
			{name: "the same twice", want: "qe_identity/duplicate", make: func(l *lab) {
				l.qeIdentity(func(q *sgxsim.QEIdentity) { q.Levels = append(q.Levels, q.Levels[0]) })
			}},
		}},
		{id: 147, attempts: windowEnd(d)},
		{id: 148, attempts: windowStart(d)},
		{id: 149, attempts: concat(untrusted, dates, subject, issuer, form, inverted(d), []attempt{
			{name: "root CRL expired", want: "root_crl/expired", make: func(l *lab) {
				l.rootCRL(func(c *sgxsim.CRL) { c.NextUpdate = labTime.Add(-time.Second) })
			}},
			{name: "signer revoked", want: "qe_identity/revoked", make: func(l *lab) {
				// A second signer, for the identity only.
				second := *l.p.TCBSigner
				certificate := *second.Certificate
				certificate.Serial = big.NewInt(77)
				second.Certificate = &certificate
				l.resign(&second, l.p.Root)
				l.collateral().QEIdentityIssuerChain = append(second.PEM(), l.p.RootPEM()...)
				l.rootCRL(func(c *sgxsim.CRL) { c.Revoked = append(c.Revoked, big.NewInt(77)) })
			}},
		})},
		{id: 150, attempts: []attempt{d.bytesOf("format", "TCB info", func(l *lab, _ []byte) []byte { return l.collateral().TCBInfo })}},
	}
}
