// Package keyserver releases wrap keys to attested enclaves. It speaks Gramine's secret provisioning protocol, so that
// unmodified clients of Gramine 1.0 to 1.9 work with it.
//
// A connection goes through five steps, and every end of it is one line in the log:
//
//  1. TLS 1.2 or 1.3. The enclave's certificate is self-signed and carries a quote; the server's comes from the
//     configuration. A certificate whose quote does not bind its key ends the handshake with an alert.
//  2. Now that TLS has shown that the client holds that key, its quote is verified: first that the quote's own signatures
//     lead to Intel's root and only then, with collateral, whether the platform is what it says. A stranger cannot
//     make this server fetch anything.
//  3. The rules of the configuration are tried in their order. The first whose every condition holds releases its
//     secret; when none does the connection is closed. The server name the enclave asked for (SNI) is the only thing it
//     can say about which key it wants.
//  4. The client sends its request and receives the secret (see package protocol).
//  5. close_notify. The protocol has no acknowledgement: the log says "sent", because nobody here can know more.
//
// # Account
//
// With an audit log (package audit) the release's entry is on the device before the first byte of the secret is sent;
// when it cannot be written, because the disk is full or the clock was turned back, nothing is released. Refusals and
// loads of configurations are in it too. Whoever shows evidence that nothing vouches for fills no disk: such refusals are
// written up to a rate and counted beyond it. The log goes on in a new file after some size, as one chain; its checkpoints
// are in the server's log too, to be where nobody on this machine can change them.
//
// In a container the log's entries can go to standard output too (audit.copy_to_stdout), for a collector. A collector that does not read holds
// releases up, as a device does that does not write.
//
// # Secrets
//
// They come from files, systemd credentials, the environment or commands (package keysource), and are read again at every
// reload. There is one copy of each in memory for each configuration that is in use, wiped with the last connection that
// began under it.
//
// They may also come from services: HashiCorp Vault, OpenBao, Alibaba Cloud KMS (package custody). Those are asked when the
// server starts, which it does not without every secret, at every reload, and each refresh interval, 5m unless given. Another
// key is in force from then on and accounted for. When a service does not answer, the last key stays in force for as long as it
// does not, with a warning and a metric: a key does not grow old, and what is to be withdrawn is withdrawn by a rule. That holds for a reload,
// too, for secrets that the new configuration takes from the same place.
//
// # What is believed
//
// The configuration file decides who gets which key; whoever can write it can release keys, unless [Options].ConfigKeys
// demands a signature (package configsign). Quotes are believed when package dcap says so. The collateral service is not
// believed, what it serves is signed. The time is this machine's, held against the last entry of the audit log.
//
// # Metrics
//
// The administrative listener (package console) serves them at /metrics. All begin with cc_keyserver_.
//
//	releases_total{rule}                      secrets sent
//	refusals_total{check}                     enclaves refused, by the first failed check of the rule that came closest
//	connections_ended_total{how}              neither sent nor refused: evicted, "secret not sent", "no verdict"
//	handshake_duration_seconds                histogram: from accepting a connection to its verdict
//	connections_open                          now
//	ready                                     1 while enclaves are served
//	audit_writable                            1 while the audit log can be written, or none is kept
//	secret_refresh_failures_total{secret}     times that its source did not give a secret again
//	secret_fetch_timestamp_seconds{secret}    when it did last
//	config_reloads_total{result}              "in force" or "refused"
//	config_load_timestamp_seconds             when the configuration in force was loaded
//	config_current                            0 while the file was changed and refused
//	start_timestamp_seconds                   when the server was started
//	certificate_expiry_timestamp_seconds      of the server's own certificate
//	collateral_issued_timestamp_seconds{kind} of the oldest document of a kind: its age is time() minus this
//	collateral_expiry_timestamp_seconds{kind} of the first document of a kind to expire
//	collateral_failing_documents{kind}        whose last renewal failed
//	tcb_early_refused_platforms{fmspc}        accepted today and refused under the early TCB set (package earlytcb)
//	tcb_early_evaluation_number{fmspc}        of that set
//	tcb_early_comparisons_total{result}       accepted, refused or failed
//
// # Configuration
//
// [LoadConfig] reads YAML; [Config] documents the fields. Unknown and repeated fields are refused and all problems are
// reported together. Zero values are the strict ones; what loosens is called allow_something.
package keyserver
