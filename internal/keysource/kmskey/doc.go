// Package kmskey reads wrap keys that a symmetric key of Alibaba Cloud's Key Management Service (KMS) has encrypted, from a file
// beside the configuration, and makes such files.
//
// # References
//
// [Parse] reads a reference, which is how commands name such a key:
//
//	kms:FILE                           a file with a CiphertextBlob
//	kms:NAME=VALUE,NAME=VALUE@FILE     one that was encrypted with an encryption context
//
// What comes before the first "@" is the context; a file with an "@" in its path is written kms:@FILE. The file is one line,
// the CiphertextBlob as the actions Encrypt and GenerateDataKeyWithoutPlaintext (AES_128) answer it. [Seal] makes one.
//
// # The service
//
// Where an [Account] does not say it, region, credentials and endpoint are those of the environment, in the variables of
// Alibaba's own tools (ALICLOUD_REGION, ALICLOUD_ACCESS_KEY, ALIBABA_CLOUD_ENDPOINT_KMS and so on; see package ecs). A
// ciphertext can be decrypted in the region of its key only. Reading takes the permission kms:Decrypt, making kms:Encrypt.
//
// The key is wiped from what this program was answered; no error and no log shows any of it.
package kmskey
