package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

func newRootCertCommand(s *streams) *cobra.Command {
	var platform platformFlag
	var out string
	cmd := &cobra.Command{
		Use:   "root --platform DIR [-o FILE]",
		Short: "Print the simulated platform's root certificate, the trust anchor for its quotes",
		RunE: func(*cobra.Command, []string) error {
			p, err := platform.open()
			if err != nil {
				return err
			}
			return write(s, out, p.RootPEM())
		},
	}
	platform.add(cmd)
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write to instead of stdout")
	return cmd
}

func newCollateralCommand(s *streams) *cobra.Command {
	var platform platformFlag
	var out, at string
	cmd := &cobra.Command{
		Use:   "collateral --platform DIR [-o FILE]",
		Short: "Write the platform's collateral to a file for verification without a network",
		RunE: func(*cobra.Command, []string) error {
			p, err := platform.open()
			if err != nil {
				return err
			}
			issued := time.Now()
			if at != "" {
				if issued, err = time.Parse(time.RFC3339, at); err != nil {
					return usagef("--at: %w", err)
				}
			}
			data, err := p.CollateralFile(issued)
			if err != nil {
				return err
			}
			return write(s, out, data)
		},
	}
	platform.add(cmd)
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write to instead of stdout")
	cmd.Flags().StringVar(&at, "at", "", "time to issue the collateral for, as 2026-01-02T15:04:05Z (default now)")
	return cmd
}

func newQuoteCommand(s *streams) *cobra.Command {
	var platform platformFlag
	var identity identityFlags
	var out, reportData string
	cmd := &cobra.Command{
		Use:   "quote --platform DIR --mrenclave HEX -o FILE",
		Short: "Make a quote of a simulated enclave",
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := identity.identity()
			if err != nil {
				return err
			}
			var data [64]byte
			if reportData != "" {
				if err := parseHex(data[:], "report-data", reportData); err != nil {
					return err
				}
			}
			if out == "" {
				return usagef("--output is missing: a quote is binary")
			}
			p, err := platform.open()
			if err != nil {
				return err
			}
			quote, err := p.Quoter(id).Quote(cmd.Context(), data)
			if err != nil {
				return err
			}
			return write(s, out, quote)
		},
	}
	platform.add(cmd)
	identity.add(cmd)
	cmd.Flags().StringVar(&reportData, "report-data", "", "report data, 128 hex digits (default zeros)")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write the quote to (required)")
	return cmd
}

// write puts a public result where the user wants it.
func write(s *streams, path string, data []byte) error {
	if path == "" {
		if _, err := s.out.Write(data); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
		return nil
	}
	return atomicfile.WriteFile(path, data, 0o644)
}
