import init from "../pkg/convscope_web.js"; void init;
