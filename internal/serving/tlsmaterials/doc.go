// Package tlsmaterials makes and reads the TLS materials of a TensorFlow Serving deployment: a private certificate
// authority, certificates for the server and its clients, and the ssl.cfg that TensorFlow Serving takes with
// --ssl_config_file. A key server's certificate is made the same way, without clients and ssl.cfg.
//
// Start with [NewAuthority] and [KeyPair.Issue], gather the results in [Materials], and let [Materials.Files] say what
// belongs in which file. [ParseFiles] is the way back, [Materials.Check] finds what is wrong with a set of files, and
// [ParseSSLConfig] reads an ssl.cfg. Nothing here touches the disk or the clock.
//
// # Layout
//
// The files are those of the folder ssl_configure of the tutorial that this replaces, so that its later steps work on
// them unchanged:
//
//	ca_cert.pem                  the authority's certificate; further trusted authorities may follow it
//	ca_key.pem                   secret
//	ca_next_key.pem              secret; of the second authority while there are two, or
//	ca_previous_key.pem          secret; of the second authority while there are two
//	server/cert.pem
//	server/key.pem               secret
//	client/cert.pem              the first client, absent with one-way TLS
//	client/key.pem               secret
//	clients/NAME/cert.pem        further clients, one folder each
//	clients/NAME/key.pem         secret
//	ssl.cfg                      secret: it contains the server's private key
//	ssl.cfg.pf                   instead of ssl.cfg and server/key.pem: ssl.cfg as a protected file of Gramine
//
// # Certificates
//
// Certificates follow RFC 5280: version 3, serial numbers of 126 random bits, key identifiers, one extended key usage.
// The authority may issue leaves only (path length 0). A leaf never outlives its authority. Keys are ECDSA P-256 or RSA;
// Ed25519 is left out because no Gramine client accepts it (mbedTLS has no support for it).
//
// An IPv4 address appears as iPAddress and as dNSName. Only the first is right, but the mbedTLS of Gramine before 1.8
// compares the host it was given, address or name, with dNSName entries alone; current clients ignore the second.
//
// # A new authority
//
// An authority is replaced in three steps, with time between them for the files to reach every peer ([Rotation]): the
// next authority is made and trusted beside the present one; it issues all leaves, with the previous one still trusted;
// the previous one is dropped. ca_cert.pem, and custom_ca in ssl.cfg, hold both meanwhile, the issuing one first.
//
// # ssl.cfg
//
// The file is the text format of the protocol buffer message tensorflow.serving.SSLConfig
// (tensorflow_serving/config/ssl_config.proto). TensorFlow Serving reads it once, when it starts, and aborts when it
// cannot: a renewed certificate takes effect with a restart. It covers the gRPC port only; the REST port has no TLS.
package tlsmaterials
