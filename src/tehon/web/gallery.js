// A grid of pictures of which only those in view exist, so that five thousand scroll like fifty.
// Texts are set as text, never as HTML.
export default {
  template: `
    <div class="gallery" ref="box" @scroll="look" tabindex="0" role="listbox" :aria-label="label"
         aria-multiselectable="true" @keydown="key">
      <div :style="{height: Math.ceil(cells.length / columns) * rowHeight + 'px', position: 'relative'}">
        <div v-for="item in inView" :key="item.id" class="tile" role="option" :aria-selected="chosen.has(item.id)"
             :class="{chosen: chosen.has(item.id), troubled: item.trouble}" :style="place(item)"
             :title="item.name" @click="choose($event, item)">
          <div class="tile-picture">
            <div class="tile-frame">
              <img :src="item.thumb" :alt="item.name" loading="lazy" decoding="async" @load="fit">
              <div v-if="item.crop" class="tile-crop" :style="crop(item)"></div>
              <span v-if="item.mark" class="tile-mark">{{ item.mark }}</span>
            </div>
          </div>
          <div class="tile-size">{{ item.size }}</div>
          <div class="tile-caption">{{ item.caption || item.trouble }}</div>
        </div>
      </div>
    </div>`,
  props: { items: Array, label: String },
  emits: ["choose"],
  data() { return { top: 0, width: 800, height: 600, tile: 176, rowHeight: 250, last: 0, selected: [] }; },
  computed: {
    columns() { return Math.max(1, Math.floor(this.width / this.tile)); },
    cells() { // the pictures by their place; a new group begins a new row
      const found = [];
      this.items.forEach((item, n) => {
        if (n && item.group !== this.items[n - 1].group) while (found.length % this.columns) found.push(null);
        found.push(item);
      });
      return found;
    },
    chosen() { return new Set(this.selected); },
    inView() {
      const first = Math.max(0, Math.floor(this.top / this.rowHeight) - 1) * this.columns;
      const rows = Math.ceil(this.height / this.rowHeight) + 3;
      const seen = this.cells.slice(first, first + rows * this.columns);
      return seen.map((item, n) => item && { ...item, at: first + n }).filter(Boolean);
    },
  },
  mounted() {
    this.watch = new ResizeObserver(() => { this.width = this.$refs.box.clientWidth; this.height = this.$refs.box.clientHeight; });
    this.watch.observe(this.$refs.box);
  },
  beforeUnmount() { this.watch.disconnect(); },
  methods: {
    look() { this.top = this.$refs.box.scrollTop; },
    fit(event) {
      const { naturalWidth, naturalHeight, parentElement } = event.target;
      parentElement.style.setProperty("--ratio", naturalWidth / naturalHeight);
    },
    place(item) {
      return { position: "absolute", top: Math.floor(item.at / this.columns) * this.rowHeight + "px",
        left: (item.at % this.columns) * (100 / this.columns) + "%", width: 100 / this.columns + "%" };
    },
    crop(item) {
      const [left, top, width, height] = item.crop;
      return { left: left * 100 + "%", top: top * 100 + "%", width: width * 100 + "%", height: height * 100 + "%" };
    },
    choose(event, item) {
      let chosen = [item.id];
      if (event.shiftKey) {
        const [from, to] = [Math.min(this.last, item.at), Math.max(this.last, item.at)];
        chosen = this.cells.slice(from, to + 1).filter(Boolean).map((one) => one.id);
      } else {
        if (event.ctrlKey || event.metaKey) {
          const there = new Set(this.items.map((one) => one.id)); // a filter may have hidden what was chosen before it
          const before = this.selected.filter((id) => there.has(id));
          chosen = this.chosen.has(item.id) ? before.filter((id) => id !== item.id) : [...before, item.id];
        }
        this.last = item.at;
      }
      this.tell(chosen);
    },
    pick(ids) { this.selected = ids; },
    tell(ids) {
      this.selected = ids; // at once: the server hears of it, and need not answer
      this.$emit("choose", ids);
    },
    key(event) {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns }[event.key];
      if (!step || !this.items.length) return;
      event.preventDefault();
      const now = this.cells.findIndex((item) => item?.id === this.selected[0]);
      let next = Math.min(this.cells.length - 1, Math.max(0, now + step));
      while (!this.cells[next]) next += step === 1 ? 1 : -1; // the first and the last cell have a picture
      this.last = next;
      const top = Math.floor(next / this.columns) * this.rowHeight;
      const box = this.$refs.box;
      if (top < box.scrollTop) box.scrollTop = top;
      if (top + this.rowHeight > box.scrollTop + box.clientHeight) box.scrollTop = top + this.rowHeight - box.clientHeight;
      this.tell([this.cells[next].id]);
    },
  },
};
