// Package distro knows what Linux distributions call the packages that lanes need, and with which
// command they are installed. All of it is data: the tables below.
package distro

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Need is something that a package provides.
type Need string

// What lanes, their tests and fixture builds need from packages.
const (
	QEMU       Need = "qemu"       // qemu-system-x86_64
	ImageTool  Need = "qemu-img"   // qemu-img
	SPICE      Need = "spice"      // QEMU's SPICE server and the QXL display
	OVMF       Need = "ovmf"       // UEFI firmware
	Clang      Need = "clang"      // clang
	LLD        Need = "lld"        // lld-link
	Mtools     Need = "mtools"     // mformat, mcopy
	Dosfstools Need = "dosfstools" // mkfs.fat
	SpiceGTK   Need = "spice-gtk"  // spicy-screenshot
	Libvirt    Need = "libvirt"    // libvirtd
	Netem      Need = "netem"      // the kernel module sch_netem, where it is not with the kernel
)

// A family is how a group of distributions names its packages.
type family struct {
	// ids are the values of ID and ID_LIKE in os-release that mean this family.
	ids []string
	// install is the command before the packages' names.
	install string
	// lists matches the files from which install knows packages; empty if install fetches them
	// itself. refresh is the command that fetches them.
	lists, refresh string
	// packages has the packages for each need. Nothing means that no package is needed.
	packages map[Need][]string
	// since has other packages from a version of a distribution on: the first that applies counts.
	since []since
}

type since struct {
	id       string
	version  float64
	need     Need
	packages []string
	// older are the code names of earlier versions. A distribution that is made of id has a version of
	// its own, and says with a code name which one of id it is made of.
	older []string
}

// withSPICE are releases whose qemu-system-x86 brings QEMU's SPICE server along. The last two are
// Devuan's names.
var withSPICE = []string{"bionic", "focal", "jammy", "kinetic", "lunar", "mantic", "buster", "bullseye", "bookworm", "chimaera", "daedalus"}

var families = []family{
	{
		ids:     []string{"debian", "ubuntu"},
		install: "apt-get install -y",
		lists:   "var/lib/apt/lists/*_Packages*",
		refresh: "apt-get update",
		packages: map[Need][]string{
			QEMU: {"qemu-system-x86"}, ImageTool: {"qemu-utils"}, SPICE: {"qemu-system-x86"}, OVMF: {"ovmf"},
			Clang: {"clang"}, LLD: {"lld"}, Mtools: {"mtools"}, Dosfstools: {"dosfstools"},
			SpiceGTK: {"spice-client-gtk"}, Libvirt: {"libvirt-daemon-system"},
		},
		since: []since{
			// Newer releases have QEMU's SPICE server in a separate package.
			{"debian", 13, SPICE, []string{"qemu-system-x86", "qemu-system-modules-spice"}, withSPICE},
			{"ubuntu", 24.04, SPICE, []string{"qemu-system-x86", "qemu-system-modules-spice"}, withSPICE},
		},
	},
	{
		ids:     []string{"fedora", "rhel", "centos"},
		install: "dnf install -y",
		packages: map[Need][]string{
			QEMU: {"qemu-system-x86-core"}, ImageTool: {"qemu-img"},
			SPICE: {"qemu-ui-spice-core", "qemu-char-spice", "qemu-audio-spice", "qemu-device-display-qxl"}, OVMF: {"edk2-ovmf"},
			Clang: {"clang"}, LLD: {"lld"}, Mtools: {"mtools"}, Dosfstools: {"dosfstools"},
			SpiceGTK: {"spice-gtk-tools"}, Libvirt: {"libvirt-daemon-kvm"}, Netem: {"kernel-modules-extra"},
		},
	},
	{
		ids:     []string{"arch"},
		install: "pacman -S --needed --noconfirm",
		packages: map[Need][]string{
			QEMU: {"qemu-system-x86"}, ImageTool: {"qemu-img"},
			SPICE: {"qemu-ui-spice-core", "qemu-chardev-spice", "qemu-audio-spice", "qemu-hw-display-qxl"}, OVMF: {"edk2-ovmf"},
			Clang: {"clang"}, LLD: {"lld"}, Mtools: {"mtools"}, Dosfstools: {"dosfstools"},
			SpiceGTK: {"spice-gtk"}, Libvirt: {"libvirt"},
		},
	},
	{
		ids:     []string{"opensuse", "suse", "opensuse-tumbleweed", "opensuse-leap"},
		install: "zypper --non-interactive install",
		packages: map[Need][]string{
			QEMU: {"qemu-x86"}, ImageTool: {"qemu-img"},
			SPICE: {"qemu-ui-spice-core", "qemu-chardev-spice", "qemu-audio-spice", "qemu-hw-display-qxl"}, OVMF: {"qemu-ovmf-x86_64"},
			Clang: {"clang"}, LLD: {"lld"}, Mtools: {"mtools"}, Dosfstools: {"dosfstools"},
			SpiceGTK: {"spice-gtk"}, Libvirt: {"libvirt-daemon-qemu"}, Netem: {"kernel-default-extra"},
		},
		since: []since{
			{"opensuse-leap", 0, ImageTool, []string{"qemu-tools"}, nil},
		},
	},
}

// A System is one installed distribution.
type System struct {
	// ID and Version are those of os-release; Name is for people.
	ID, Version, Name string

	root     bool // whether this process is root
	family   *family
	base     string // the distribution of the family that this one is made of; empty if it is in it
	codename string // of the base's release, if that is known
	unlisted bool   // whether the family's lists have to be fetched first
}

// Here returns the distribution of this host.
var Here = sync.OnceValue(func() System { return At("/", os.Geteuid() == 0) })

// At returns the distribution that is installed below a directory. root says whether its commands
// already run as root; otherwise they begin with sudo.
func At(dir string, root bool) System {
	s := System{Name: "this system", root: root}
	var like []string
	codenames := map[string]string{}
	for _, file := range []string{"etc/os-release", "usr/lib/os-release"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(b), "\n") {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			value = strings.Trim(value, `"'`)
			switch key {
			case "ID":
				s.ID = value
			case "ID_LIKE":
				like = strings.Fields(value)
			case "VERSION_ID":
				s.Version = value
			case "PRETTY_NAME":
				s.Name = value
			case "UBUNTU_CODENAME", "DEBIAN_CODENAME", "VERSION_CODENAME":
				codenames[key] = value
			}
		}
		break
	}
	for _, id := range append([]string{s.ID}, like...) {
		for i, f := range families {
			if s.family == nil && slices.Contains(f.ids, id) {
				s.family = &families[i]
				if id != s.ID {
					s.base = id
					s.codename = cmp.Or(codenames["UBUNTU_CODENAME"], codenames["DEBIAN_CODENAME"], codenames["VERSION_CODENAME"])
				}
			}
		}
	}
	if s.family != nil && s.family.lists != "" {
		found, _ := filepath.Glob(filepath.Join(dir, s.family.lists))
		s.unlisted = len(found) == 0
	}
	return s
}

// Known reports whether the distribution's packages are known.
func (s System) Known() bool { return s.family != nil }

// Packages returns the packages for needs, each once.
func (s System) Packages(needs ...Need) []string {
	if s.family == nil {
		return nil
	}
	var all []string
	for _, n := range needs {
		for _, p := range s.packages(n) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

func (s System) packages(n Need) []string {
	version, err := strconv.ParseFloat(s.Version, 64)
	for _, x := range s.family.since {
		// Rolling releases and releases under test have no version: they are newer than all.
		newer := x.id == s.ID && (err != nil || version >= x.version) || x.id == s.base && !slices.Contains(x.older, s.codename)
		if x.need == n && newer {
			return x.packages
		}
	}
	return s.family.packages[n]
}

// Install returns the command that installs what is needed, or "" if no package has it or the
// distribution is unknown.
func (s System) Install(needs ...Need) string { return s.InstallPackages(s.Packages(needs...)) }

// InstallPackages returns the command that installs packages, or "" if there are none.
func (s System) InstallPackages(packages []string) string {
	if s.family == nil || len(packages) == 0 {
		return ""
	}
	command := s.Sudo(s.family.install + " " + strings.Join(packages, " "))
	if s.unlisted {
		command = s.Sudo(s.family.refresh) + " && " + command
	}
	return command
}

// Sudo returns the command with which this user runs command as root.
func (s System) Sudo(command string) string {
	if s.root {
		return command
	}
	return "sudo " + command
}

// Hint returns what to tell somebody who lacks something: the command, or what to look for.
func (s System) Hint(needs ...Need) string {
	if command := s.Install(needs...); command != "" {
		return "install it with: " + command
	}
	var words []string
	for _, n := range needs {
		words = append(words, string(n))
	}
	return fmt.Sprintf("install it with %s's package manager (%s)", s.Name, strings.Join(words, ", "))
}
