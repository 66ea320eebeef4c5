// Package installer runs commands of people who have few permissions on the host.
package installer
