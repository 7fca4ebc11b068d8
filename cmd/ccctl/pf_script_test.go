package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// Offsets in node 0 of format 2, from common/src/protected_files/protected_files_format.h of Gramine v1.9. What is there is
// not authenticated.
const (
	pfMinorVersion = 9
	pfFlags        = 58
	pfFlagPending  = 0x01
)

// cmdInterruptPF is the script command "interrupt-pf BEFORE AFTER OUT [NODE...]". OUT is BEFORE, a protected file of format
// 2, in the middle of a write that makes it AFTER: the given nodes have been written. The recovery file beside it has what
// all nodes were, the last one first, as Gramine writes it.
func cmdInterruptPF(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupt-pf BEFORE AFTER OUT [NODE...]")
	}
	before, after := []byte(ts.ReadFile(args[0])), []byte(ts.ReadFile(args[1]))
	file := bytes.Clone(before)
	var log []byte
	for n := len(before)/protectedfile.NodeSize - 1; n >= 0; n-- {
		log = binary.LittleEndian.AppendUint64(log, uint64(n))
		log = append(log, before[n*protectedfile.NodeSize:][:protectedfile.NodeSize]...)
	}
	for _, arg := range args[3:] {
		n, err := strconv.Atoi(arg)
		ts.Check(err)
		if end := (n + 1) * protectedfile.NodeSize; end > len(file) || end > len(after) {
			ts.Fatalf("there is no node %d", n)
		}
		copy(file[n*protectedfile.NodeSize:][:protectedfile.NodeSize], after[n*protectedfile.NodeSize:])
	}
	file[pfFlags] |= pfFlagPending
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), file, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]+".gramine.recovery"), log, 0o600))
}

// cmdOddities is the script command "odd-pf FILE PREFIX": copies of a protected file of format 2 that differ in
// what is not authenticated.
func cmdOddities(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: odd-pf FILE PREFIX")
	}
	good := []byte(ts.ReadFile(args[0]))
	write := func(name string, change func([]byte) []byte) {
		ts.Check(os.WriteFile(ts.MkAbs(args[1]+"-"+name+".pf"), change(bytes.Clone(good)), 0o600))
	}
	write("flags", func(b []byte) []byte { b[pfFlags] |= 0x80; return b })
	write("minor", func(b []byte) []byte { b[pfMinorVersion]++; return b })
	write("nodes", func(b []byte) []byte { return append(b, make([]byte, protectedfile.NodeSize)...) })
}
