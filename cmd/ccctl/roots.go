package main

// Mozilla's certification authorities, for where the system has none: the key
// server's container image holds nothing but this program, and collateral
// services are reached over HTTPS. A system's own authorities come first.
import _ "golang.org/x/crypto/x509roots/fallback"
