package dcap_test

import (
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// pairs is what the SGX extension consists of.
type pairs = []sgxsim.SGXEntry

// machine changes what the extension says.
func machine(change func(*sgxsim.SGXExtension)) func(*lab) {
	return func(l *lab) {
		x := l.p.Machine.Extension()
		change(x)
		value, err := x.Marshal()
		l.must(err)
		l.extension(value)
	}
}

// setEntry replaces a value of the extension.
func setEntry(i int, value any) func(*lab) {
	return func(l *lab) {
		l.entries(func(all pairs) pairs { all[i].Value = l.der(value); return all })
	}
}

// setTCB replaces a value of the extension's TCB: component i, from 0, or 16 for PCESVN, 17 for CPUSVN.
func setTCB(i int, value any) func(*lab) {
	return func(l *lab) {
		l.tcbEntries(func(all pairs) pairs { all[i].Value = l.der(value); return all })
	}
}

func extensionRows() []row {
	const stage = "pck_extensions/"
	repeat := func(i int) func(*lab) {
		return func(l *lab) { l.entries(func(all pairs) pairs { return append(all, all[i]) }) }
	}
	components := func(value any) []attempt {
		var all []attempt
		for i := range 16 {
			all = append(all, attempt{name: fmt.Sprintf("component %d: %v", i+1, value), want: stage + "range", make: setTCB(i, value)})
		}
		return all
	}
	huge := new(big.Int).Lsh(big.NewInt(1), 64)
	return []row{
		one(77, stage+"missing", func(l *lab) {
			l.p.PCK.Certificate.Remove(sgxsim.OIDSGX)
			l.resign(l.p.PCK, l.p.CA())
		}),
		{id: 78, attempts: []attempt{
			{name: "6 under the Platform CA", want: stage + "count", make: func(l *lab) { l.entries(func(all pairs) pairs { return all[:6] }) }},
			{name: "5 under the Platform CA", want: stage + "count", make: func(l *lab) { l.entries(func(all pairs) pairs { return all[:5] }) }},
			{name: "4", want: stage + "count", make: func(l *lab) { l.entries(func(all pairs) pairs { return all[:4] }) }},
			{name: "8", want: stage + "count", make: repeat(0)},
			{name: "none", want: stage + "count", make: func(l *lab) { l.entries(func(pairs) pairs { return pairs{} }) }},
		}},
		{id: 79, attempts: missingEntries()},
		{id: 80, attempts: []attempt{
			{name: "an INTEGER for the OID", want: stage + "format", make: func(l *lab) { l.extension(sevenPairs(l, l.der(1), l.der(1))) }},
			{name: "a NULL for the OID", want: stage + "format", make: func(l *lab) { l.extension(sevenPairs(l, asn1.NullRawValue, l.der(1))) }},
			{name: "three members in a pair", want: stage + "format", make: func(l *lab) { l.extension(sevenPairs(l, l.der(sgxOID(1)), l.der(1), l.der(1))) }},
			{name: "one member in a pair", want: stage + "format", make: func(l *lab) { l.extension(sevenPairs(l, l.der(sgxOID(1)))) }},
			{name: "an INTEGER for a pair", want: stage + "format", make: func(l *lab) { l.extension(l.der([]int{1, 2, 3, 4, 5, 6, 7}).FullBytes) }},
		}},
		{id: 81, attempts: []attempt{
			{name: "17", want: stage + "count", make: func(l *lab) { l.tcbEntries(func(all pairs) pairs { return all[:17] }) }},
			{name: "19", want: stage + "count", make: func(l *lab) { l.tcbEntries(func(all pairs) pairs { return append(all, all[0]) }) }},
			{name: "not a sequence", want: stage + "format", make: setEntry(1, 1)},
		}},
		{id: 82, attempts: each([]int{0, 7, 15, 16, 17}, func(l *lab, i int) {
			l.tcbEntries(func(all pairs) pairs { all[i] = all[(i+1)%16]; return all })
		}, stage+"missing")},
		{id: 83, attempts: concat(components(256), components(-1), components(huge))},
		{id: 84, attempts: []attempt{
			{want: "ok", make: func(l *lab) {
				l.p.Machine.Components = [16]int64{}
				fill(&l.p.Machine.Components, 255)
				l.extension(marshalled(l))
			},
				check: func(t *testing.T, v *dcap.Verdict) {
					for i, svn := range v.PCK.Components {
						if svn != 255 || v.PCK.CPUSVN[i] != 255 {
							t.Errorf("component %d is %d", i+1, svn)
						}
					}
				}},
			{name: "order does not matter", want: "ok", make: func(l *lab) {
				l.tcbEntries(func(all pairs) pairs { slices.Reverse(all); return all })
			}, check: func(t *testing.T, v *dcap.Verdict) {
				if want := [16]uint8{12, 12, 3, 3, 255, 255, 1}; v.PCK.Components != want || v.PCK.PCESVN != 13 {
					t.Errorf("components %v, PCESVN %d", v.PCK.Components, v.PCK.PCESVN)
				}
			}},
		}},
		{id: 85, attempts: []attempt{
			{name: "65536", want: stage + "range", make: setTCB(16, 65536)},
			{name: "-1", want: stage + "range", make: setTCB(16, -1)},
			{name: "2^64", want: stage + "range", make: setTCB(16, huge)},
			{name: "65535", want: "ok", make: setTCB(16, 65535), check: func(t *testing.T, v *dcap.Verdict) {
				if v.PCK.PCESVN != 65535 {
					t.Errorf("PCESVN %d", v.PCK.PCESVN)
				}
			}},
		}},
		{id: 86, attempts: lengths()},
		{id: 87, attempts: concat(
			[]attempt{{name: "SGX type INTEGER", want: stage + "type", make: setEntry(4, 1)}},
			otherTypes(),
		)},
		{id: 88, attempts: concat(
			each([]int{3, 127, 128, -1, 1 << 40}, func(l *lab, v int) { machine(func(x *sgxsim.SGXExtension) { x.SGXType = v })(l) }, stage+"range"),
			[]attempt{
				{name: "0", want: "ok", make: machine(func(x *sgxsim.SGXExtension) { x.SGXType = 0 }), check: sgxType(dcap.SGXStandard)},
				{name: "2", want: "ok", make: machine(func(x *sgxsim.SGXExtension) { x.SGXType = 2 }), check: sgxType(dcap.SGXScalableIntegrity)},
			},
		)},
		{id: 89, attempts: configurations()},
		{id: 90, attempts: []attempt{
			{want: "ok", make: processor, check: func(t *testing.T, v *dcap.Verdict) {
				if v.PCK.CA != dcap.CAProcessor || v.PCK.Configuration != nil {
					t.Errorf("PCK %+v", v.PCK)
				}
			}},
			{name: "with them after all", want: stage + "count", make: func(l *lab) {
				processor(l)
				machine(func(x *sgxsim.SGXExtension) { x.Platform = &sgxsim.SGXPlatform{InstanceID: make([]byte, 16)} })(l)
			}},
		}},
		{id: 91, attempts: []attempt{
			{name: "instead of the PPID", want: stage + "duplicate", make: func(l *lab) {
				l.entries(func(all pairs) pairs {
					all[0] = sgxsim.SGXEntry{ID: all[3].ID, Value: l.der([]byte{1, 2, 3, 4, 5, 6})}
					return all
				})
			}},
			{name: "in addition", want: stage + "count", make: repeat(3)},
		}},
		{id: 92, attempts: []attempt{
			{name: "in the extension", want: stage + "format", make: func(l *lab) { l.extension(append(marshalled(l), 5, 0)) }},
			{name: "empty", want: stage + "format", make: func(l *lab) { l.extension(nil) }},
			{name: "cut", want: stage + "format", make: func(l *lab) { v := marshalled(l); l.extension(v[:len(v)-1]) }},
			{name: "a SET", want: stage + "format", make: func(l *lab) { v := marshalled(l); v[0] = 0x31; l.extension(v) }},
		}},
		one(93, "ok", machine(func(x *sgxsim.SGXExtension) { x.PPID = make([]byte, 16) })),
	}
}

func fill(values *[16]int64, v int64) {
	for i := range values {
		values[i] = v
	}
}

func marshalled(l *lab) []byte {
	value, err := l.p.Machine.Extension().Marshal()
	l.must(err)
	return value
}

// processor makes the lab's platform one of the Processor CA.
func processor(l *lab) {
	*l = *newLab(l.tb, dcap.CAProcessor)
}

func sgxType(want dcap.SGXType) func(*testing.T, *dcap.Verdict) {
	return func(t *testing.T, v *dcap.Verdict) {
		if v.PCK.SGXType != want {
			t.Errorf("SGX type %s, want %s", v.PCK.SGXType, want)
		}
	}
}

// sevenPairs is an extension whose first pair has the given members.
func sevenPairs(l *lab, first ...asn1.RawValue) []byte {
	entries, err := l.p.Machine.Extension().Entries()
	l.must(err)
	members := []asn1.RawValue{l.der(first)}
	for _, e := range entries[1:] {
		members = append(members, l.der(e))
	}
	return l.der(members).FullBytes
}

func missingEntries() []attempt {
	var all []attempt
	for i, name := range []string{"PPID", "TCB", "PCE-ID", "FMSPC", "SGX type", "instance id", "configuration"} {
		all = append(all,
			attempt{name: name + " under an unknown OID", want: "pck_extensions/missing", make: func(l *lab) {
				l.entries(func(e pairs) pairs { e[i].ID = sgxOID(99); return e })
			}},
			attempt{name: name + " under an OID elsewhere", want: "pck_extensions/missing", make: func(l *lab) {
				l.entries(func(e pairs) pairs { e[i].ID = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 2, i + 1}; return e })
			}},
			attempt{name: name + " under a longer OID", want: "pck_extensions/missing", make: func(l *lab) {
				l.entries(func(e pairs) pairs { e[i].ID = append(slices.Clone(e[i].ID), 1); return e })
			}},
		)
	}
	return all
}

func lengths() []attempt {
	var all []attempt
	for _, f := range []struct {
		name  string
		right int
		set   func(*sgxsim.SGXExtension, []byte)
	}{
		{"FMSPC", 6, func(x *sgxsim.SGXExtension, b []byte) { x.FMSPC = b }},
		{"PCE-ID", 2, func(x *sgxsim.SGXExtension, b []byte) { x.PCEID = b }},
		{"PPID", 16, func(x *sgxsim.SGXExtension, b []byte) { x.PPID = b }},
		{"CPUSVN", 16, func(x *sgxsim.SGXExtension, b []byte) { x.CPUSVN = b }},
		{"instance id", 16, func(x *sgxsim.SGXExtension, b []byte) { x.Platform.InstanceID = b }},
	} {
		for _, n := range []int{0, f.right - 1, f.right + 1} {
			all = append(all, attempt{name: fmt.Sprintf("%s of %d", f.name, n), want: "pck_extensions/length", make: machine(func(x *sgxsim.SGXExtension) {
				f.set(x, make([]byte, n))
			})})
		}
	}
	return all
}

// otherTypes gives each value a type it does not have.
func otherTypes() []attempt {
	var all []attempt
	add := func(name string, change func(*lab)) {
		all = append(all, attempt{name: name, want: "pck_extensions/type", make: change})
	}
	for i, name := range []string{"PPID", "", "PCE-ID", "FMSPC", "SGX type", "instance id"} {
		if name != "" {
			add(name+" as UTF8String", setEntry(i, "text"))
		}
	}
	add("component as OCTET STRING", setTCB(0, []byte{1}))
	add("component as ENUMERATED", setTCB(15, asn1.Enumerated(1)))
	add("PCESVN as BOOLEAN", setTCB(16, true))
	add("CPUSVN as INTEGER", setTCB(17, 1))
	add("PPID constructed", setEntry(0, asn1.RawValue{Class: 0, Tag: asn1.TagOctetString, IsCompound: true, Bytes: []byte{4, 1, 1}}))
	add("PPID of another class", setEntry(0, asn1.RawValue{Class: 2, Tag: asn1.TagOctetString, Bytes: make([]byte, 16)}))
	return all
}

func configurations() []attempt {
	change := func(f func(*lab, pairs) pairs) func(*lab) {
		return func(l *lab) {
			l.entries(func(all pairs) pairs {
				all[6] = l.nested(all[6], func(c pairs) pairs { return f(l, c) })
				return all
			})
		}
	}
	var all []attempt
	for i, name := range []string{"dynamic platform", "cached keys", "SMT"} {
		all = append(all,
			attempt{name: name + " missing", want: "pck_extensions/count", make: change(func(_ *lab, c pairs) pairs { return slices.Delete(c, i, i+1) })},
			attempt{name: name + " replaced", want: "pck_extensions/missing", make: change(func(_ *lab, c pairs) pairs { c[i].ID = sgxOID(7, 9); return c })},
			attempt{name: name + " as INTEGER", want: "pck_extensions/type", make: change(func(l *lab, c pairs) pairs { c[i].Value = l.der(1); return c })},
			attempt{name: name + " neither true nor false", want: "pck_extensions/format", make: change(func(_ *lab, c pairs) pairs {
				c[i].Value = asn1.RawValue{FullBytes: []byte{1, 1, 7}}
				return c
			})},
		)
		for _, value := range []bool{true, false} {
			all = append(all, attempt{name: fmt.Sprint(name, " ", value), want: "ok", make: machine(func(x *sgxsim.SGXExtension) {
				*[]*bool{&x.Platform.DynamicPlatform, &x.Platform.CachedKeys, &x.Platform.SMTEnabled}[i] = value
			}), check: func(t *testing.T, v *dcap.Verdict) {
				want := &dcap.PCKConfiguration{DynamicPlatform: true, CachedKeys: true, SMTEnabled: true}
				*[]*bool{&want.DynamicPlatform, &want.CachedKeys, &want.SMTEnabled}[i] = value
				if diff := cmp.Diff(want, v.PCK.Configuration); diff != "" {
					t.Error(diff)
				}
			}})
		}
	}
	return append(all, attempt{name: "not a sequence", want: "pck_extensions/format", make: setEntry(6, true)})
}
