// Package graphtest builds TensorFlow graphs for tests, field by field from the
// message definitions, and has TensorFlow's own descriptors to read what the
// packages under test write. It shares no code with them. It is for tests only.
package graphtest
