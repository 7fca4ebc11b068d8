package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// unknownCommand is the error of words that are no command below cmd.
func unknownCommand(cmd *cobra.Command, words []string) error {
	return withHint(usagef("%s: unknown command %q", cmd.CommandPath(), words[0]), "%s", suggestCommand(cmd, words))
}

// suggestCommand guesses which command was meant by words that are none below cmd.
func suggestCommand(cmd *cobra.Command, words []string) string {
	var names, near []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
			if strings.HasPrefix(sub.Name(), words[0]) {
				near = append(near, sub.Name())
			}
		}
	}
	if name := nearest(words[0], names); len(near) == 0 && name != "" {
		near = []string{name}
	}
	if len(near) > 0 {
		for i, name := range near {
			near[i] = "'" + cmd.CommandPath() + " " + name + "'"
		}
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	// A verb without its noun, or before it.
	var found []string
	for _, noun := range cmd.Root().Commands() {
		for _, verb := range noun.Commands() {
			if verb.Name() == words[0] && !verb.Hidden {
				if len(words) > 1 && noun.Name() == words[1] {
					return "did you mean '" + verb.CommandPath() + "'?"
				}
				found = append(found, "'"+verb.CommandPath()+"'")
			}
		}
	}
	if len(found) > 0 {
		return "did you mean " + strings.Join(found, " or ") + "?"
	}
	return "see '" + cmd.CommandPath() + " --help'"
}

// explainFlag gives an error of a command's flags its exit code and a guess at the mistake.
func explainFlag(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
		return unknownCommand(cmd, words) // whose flags are none of the group's
	}
	help := fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	usage := usagef("%s: %w", cmd.CommandPath(), err)
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		// "-wrap-key" is read as -w with the value "rap-key", or as -w -r -a ...
		if f := cmd.Flags().Lookup(unknown.GetSpecifiedShortnames()); f != nil {
			help = fmt.Sprintf("long flags have two hyphens: --%s", f.Name)
		}
	case errors.As(err, &unknown):
		if near := nearest(unknown.GetSpecifiedName(), longFlags(cmd)); near != "" {
			help = fmt.Sprintf("did you mean --%s?", near)
		}
	case errors.As(err, &value):
		help = fmt.Sprintf("--%s takes %s", value.GetFlag().Name, kindOfValue(value.GetFlag()))
	}
	return withHint(usage, "%s", help)
}

func kindOfValue(f *pflag.Flag) string {
	switch t := f.Value.Type(); {
	case t == "duration":
		return "a duration such as 90s, 10m or 24h"
	case strings.HasPrefix(t, "uint"):
		return "a number that is not negative"
	case strings.HasPrefix(t, "int"):
		return "a number"
	case t == "bool":
		return "no value, or =true or =false"
	default:
		return "a " + t
	}
}

func longFlags(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// nearest is the name that differs least, if it does by little: by what a slip of the finger or a forgotten hyphen makes.
func nearest(name string, names []string) string {
	best, at := "", max(2, utf8.RuneCountInString(name)/3)+1
	plain := strings.NewReplacer("-", "", "_", "")
	for _, n := range slices.Sorted(slices.Values(names)) {
		d := distance(plain.Replace(strings.ToLower(name)), plain.Replace(n))
		if len(name) > 2 && strings.HasPrefix(n, name) {
			d = 1 // cut short
		}
		if d < at && d < len(n) {
			best, at = n, d
		}
	}
	return best
}

// distance is that of Levenshtein.
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range from {
		before := row[0]
		row[0] = i + 1
		for j, s := range to {
			above := row[j+1]
			cost := 1
			if r == s {
				cost = 0
			}
			row[j+1] = min(above+1, row[j]+1, before+cost)
			before = above
		}
	}
	return row[len(to)]
}

// splitAddress takes HOST:PORT apart. The port is what servers of this kind usually have, for the hint where it was forgotten.
func splitAddress(cmd *cobra.Command, flag, address, usualPort string) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host != "" && port != "" && !strings.Contains(port, "/") {
		return host, nil
	}
	what := fmt.Sprintf("%q", address)
	if flag != "" {
		what = flag + " " + what
	}
	err = usagef("%s: %s is not HOST:PORT", cmd.CommandPath(), what)
	switch u, notURL := url.Parse(address); {
	case notURL == nil && u.Scheme != "" && u.Host != "" && strings.Contains(address, "://"):
		meant := u.Host
		if u.Port() == "" {
			meant = net.JoinHostPort(u.Hostname(), usualPort)
		}
		return "", withHint(err, "no URL is wanted here; did you mean %s?", meant)
	case net.ParseIP(strings.Trim(address, "[]")) != nil:
		return "", withHint(err, "did you mean %s?", net.JoinHostPort(strings.Trim(address, "[]"), usualPort))
	case address != "" && !strings.ContainsAny(address, ":/ "):
		return "", withHint(err, "did you mean %s?", net.JoinHostPort(address, usualPort))
	}
	return "", err
}

// explainFiles adds guesses about the files that a failed command was given: one that is not there although another of
// nearly that name is, a directory in place of a file, a file of another kind.
func explainFiles(cmd *cobra.Command, args []string, err error) error {
	if err == nil {
		return nil
	}
	code := exitCode(err)
	for _, file := range filesGiven(cmd, args) {
		// The error is about this one.
		named := strings.Contains(err.Error(), file)
		switch {
		case named && errors.Is(err, fs.ErrNotExist):
			if near := besides(file); near != "" {
				return withHint(err, "did you mean %s?", near)
			}
		case named && errors.Is(err, syscall.EISDIR) && isDir(file):
			return withHint(err, "%s is a directory, and a file is wanted%s", file, contents(file))
		case code == exitUsage && filepath.Base(file) == "ra_config.json":
			return withHint(err, "this is a configuration of the tutorial's server: 'ccctl keyserver import-ra-config' makes rules of it")
		case code == exitFormat:
			if advice := explainKind(cmd, file); advice != "" {
				return withHint(err, "%s", advice)
			}
		}
	}
	return err
}

// filesGiven are the arguments and the values of flags, any of which may name a file.
func filesGiven(cmd *cobra.Command, args []string) []string {
	files := slices.Clone(args)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.NoOptDefVal == "" && f.Value.String() != "" {
			files = append(files, f.Value.String())
		}
	})
	return files
}

// besides finds a file of nearly the same name in the same directory, or the same name without an extension too many.
func besides(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	near := nearest(filepath.Base(path), names)
	if near == "" || near == filepath.Base(path) {
		return ""
	}
	return filepath.Join(filepath.Dir(path), near)
}

// contents tells of a few of the files in a directory.
func contents(dir string) string {
	const shown = 4
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) > shown:
		return ", such as " + strings.Join(names[:shown], ", ")
	default:
		return ": " + strings.Join(names, ", ")
	}
}

// kinds are files that are taken for others, by how they begin, and what to do with one. Commands below one of the nouns want it.
var kinds = []struct{ magic, nouns, advice string }{
	{"GRAFS_PF", "pf", "%s is a protected file of Gramine: decrypt it first, with 'ccctl pf decrypt'"},
	{"-----BEGIN ", "tls policy keyserver", "%s is PEM: 'ccctl tls inspect' shows what is in it; for an RA-TLS certificate there is 'ccctl policy explain --certificate'"},
	{"\x1f\x8b", "", "%s is compressed with gzip: unpack it first"},
	{"PK\x03\x04", "", "%s is a zip archive: unpack it first"},
	{"\x7fELF", "", "%s is a program"},
	{"version https://git-lfs", "", "%s is a pointer of Git LFS: fetch the file itself with 'git lfs pull'"},
	{"<!DOCTYPE", "", "%s is a web page: the download went wrong"},
	{"<html", "", "%s is a web page: the download went wrong"},
}

// explainKind tells what a file of the wrong format is, if that is one of the usual mistakes.
func explainKind(cmd *cobra.Command, file string) string {
	head := beginning(file)
	noun, _, _ := strings.Cut(commandName(cmd), " ")
	for _, k := range kinds {
		if strings.HasPrefix(head, k.magic) && !slices.Contains(strings.Fields(k.nouns), noun) {
			return fmt.Sprintf(k.advice, file)
		}
	}
	return ""
}

// beginning is how a regular file begins; empty for anything else.
func beginning(file string) string {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 32)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	return string(head[:n])
}
