"""Work on finished files: looking into, merging, extracting, resizing, converting and cutting them."""
