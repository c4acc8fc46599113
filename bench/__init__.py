"""Side-by-side measurements of the patched libvirt and stock libvirt 11.3.0 (``make bench``)."""
