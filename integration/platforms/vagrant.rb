# Renders vagrant-libvirt's own template of a domain, for tests/test_platforms.py:
#   ruby vagrant.rb TEMPLATE NAME DISK FEATURE...
require 'erb'

template, @name, disk, *@features = ARGV
@domain_type, @cpu_mode, @cpus, @memory_size = 'qemu', nil, 1, 262_144
@machine_type, @machine_arch, @uuid = 'q35', 'x86_64', ''
@clock_offset, @graphics_type, @graphics_ip, @video_type, @video_vram = 'utc', 'vnc', '127.0.0.1', 'cirrus', 16_384
@disk_driver_opts, @rng, @watchdog_dev, @smartcard_dev, @usbctl_dev = {}, { model: 'random' }, {}, {}, {}
@domain_volumes = [{ cache: 'default', absolute_path: disk, device: 'vda', bus: 'virtio' }]
@inputs = [{ type: 'mouse', bus: 'ps2' }]
@serials = [{ type: 'pty' }]
@disks = @cdroms = @floppies = @channels = @pcis = @usbs = @redirdevs = @redirfilters = []
@memory_backing = @memtunes = @cpu_affinity = @boot_order = @sysinfo = @features_hyperv = @clock_timers = []
@qemu_args, @qemu_env, @cpu_features, @cpu_topology = [], {}, [], {}
text = ERB.new(File.read(template), trim_mode: '-').result(binding)
# An empty UUID is Vagrant's, of a domain that is not there yet.
puts text.sub('<uuid></uuid>', '')
