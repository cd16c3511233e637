// Leaves the settings whose text has all the words, and their cards; without words all of them. The server is not asked.
export default {
  template: `<div class="search-none" role="status" v-show="nothing">
    <component is="style">{{ rules }}</component>{{ nothing ? none : "" }}</div>`,
  props: { address: String, none: String }, // of {name: [card, text in small letters]}; what is said of no setting
  data: () => ({ rules: "", text: "", nothing: false }),
  mounted() { this.load(); },
  methods: {
    load() { // again, where it failed
      this.places ??= fetch(this.address).then((answer) => answer.json()).catch(() => { this.places = undefined; });
      return this.places;
    },
    async search(text) {
      this.text = text;
      const places = await this.load();
      if (!places || text !== this.text) return; // more letters were typed meanwhile
      const words = (text || "").toLowerCase().split(/\s+/).filter(Boolean);
      const found = Object.entries(places).filter(([, [, all]]) => words.every((word) => all.includes(word)));
      this.nothing = words.length > 0 && !found.length;
      const settings = found.map(([name]) => `.form .setting[data-name="${name}"]`);
      const cards = new Set(found.map(([, [card]]) => `.form .card[data-group="${card}"]`));
      this.rules = !words.length
        ? ""
        : `.form .setting, .form .card { display: none }
           .form .fold > .q-expansion-item__container > .q-item { display: none }
           .form .fold .q-expansion-item__content { display: block !important }
           ${[...settings, ".none"].join(",")} { display: grid } ${[...cards, ".none"].join(",")} { display: block }`;
    },
  },
};
