// One row of the form, around its control. One component in place of nine elements: after each message from the server
// NiceGUI goes over all elements of the page.
export default {
  template: `
    <div class="setting" :class="{changed, wrong: trouble}" :data-name="name">
      <div class="setting-head">
        <div class="setting-label" @mouseenter.once="told = tip = true" @touchstart.passive.once="told = true">
          {{ label }}<q-tooltip v-if="told" v-model="tip">{{ name }}</q-tooltip>
        </div>
        <q-btn v-if="changed" icon="undo" flat dense round size="sm" :aria-label="back" @click="$emit('back')" />
      </div>
      <div class="setting-control"><slot></slot></div>
      <div class="setting-help"><template v-for="(part, n) in parts"><code v-if="n % 2">{{ part }}</code><template
        v-else>{{ part }}</template></template></div>
      <div class="setting-trouble" role="alert" v-show="trouble">{{ trouble }}</div>
    </div>`,
  props: { name: String, label: String, help: String, back: String, changed: Boolean, trouble: String },
  emits: ["back"],
  computed: { parts() { return this.help.split("`"); } }, // every other one is code
  data: () => ({ told: false, tip: false }), // a tooltip is made when the pointer first comes
};
