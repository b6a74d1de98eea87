package page

// style is the whole look. Colours are those of Okabe and Ito, which are told apart by nearly everybody, darker on white and lighter on black.
const style = `:root{--bg:#fff;--ink:#1b1f24;--soft:#57606a;--faint:#8b949e;--rule:#d8dee4;--grid:#e9edf1;--card:#f6f8fa;
--c0:#0a66b7;--c1:#c8500a;--c2:#00805f;--c3:#b0478a;--c4:#8a6a00;--c5:#2a93c4;--c6:#5b4bb0;--c7:#4d5560}
@media (prefers-color-scheme:dark){:root{--bg:#0f1318;--ink:#e6e9ed;--soft:#a3adb8;--faint:#77818c;--rule:#2c343d;--grid:#20262d;--card:#171c22;
--c0:#5aa9f0;--c1:#f0904a;--c2:#35c49a;--c3:#e38bc4;--c4:#e0c04a;--c5:#7fd0f5;--c6:#a79bf5;--c7:#b5bec8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:40px 28px 56px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:19px;margin:0 0 8px;letter-spacing:-.005em}
.sub{color:var(--soft);margin:0;max-width:80ch}
section{margin-top:44px;padding-top:22px;border-top:1px solid var(--rule)}
p{margin:0 0 12px;max-width:84ch}
.cap,caption,figcaption{color:var(--soft);font-size:13px;text-align:left}
caption{padding:0 0 8px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin-top:26px}
.figure{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:14px 16px;display:flex;flex-direction:column}
.figure b{font-size:25px;line-height:1.2;font-weight:650;letter-spacing:-.01em}
.figure span{margin-top:2px}
.figure small{color:var(--soft);font-size:12.5px;line-height:1.4}
figure{margin:14px 0 22px}
figure.table{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px}
th,td{padding:5px 0 5px 18px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}
th{white-space:normal;min-width:64px;max-width:120px;color:var(--soft);font-weight:600;border-bottom:1px solid var(--rule);vertical-align:bottom}
th.w,td.w{text-align:left}
th:first-child,td:first-child{padding-left:0}
td.w:not(:first-child){white-space:normal}
.swatch{vertical-align:1px;margin-right:8px}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:6px 0 16px}
details{margin:10px 0}
summary{cursor:pointer;color:var(--soft);font-weight:600;font-size:14px;padding:4px 0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:0 32px}
.grid>div{min-width:0}
.plot h3{font-size:14px;margin:0 0 6px;font-weight:600}
.plot svg.chart{display:block;width:100%;height:auto;overflow:visible}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;margin:0 0 6px;font-size:13px;color:var(--soft)}
.legend span{white-space:nowrap}
footer{margin-top:48px;padding-top:16px;border-top:1px solid var(--rule);color:var(--soft);font-size:13px}
svg text{fill:var(--soft);font-size:12px;font-family:inherit}
svg text.label{fill:var(--ink)}
svg text.strong{fill:var(--ink);font-weight:600}
svg .axis{stroke:var(--faint);stroke-width:1;fill:none}
svg .gridline{stroke:var(--grid);stroke-width:1}
svg .zero{stroke:var(--faint);stroke-width:1;stroke-dasharray:3 3}
svg .lead{stroke:var(--faint);stroke-width:.75;fill:none}
svg .line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .dot{fill:currentColor;stroke:var(--bg);stroke-width:1.5}
svg .ring{fill:var(--bg);stroke:currentColor;stroke-width:2}
svg .bar{stroke:currentColor;stroke-width:2.5;stroke-linecap:round}
svg .stripe{fill:var(--card)}
svg text.tint{fill:currentColor;font-weight:600}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}
svg .d1{stroke-dasharray:7 4}svg .d2{stroke-dasharray:2 4}
@media print{:root{--bg:#fff;--ink:#000;--soft:#444;--faint:#777;--rule:#bbb;--grid:#e2e2e2;--card:#f7f7f7;
--c0:#0a66b7;--c1:#c8500a;--c2:#00805f;--c3:#b0478a;--c4:#8a6a00;--c5:#2a93c4;--c6:#5b4bb0;--c7:#4d5560}
body{font-size:11.5px}main{max-width:none;padding:0}section{margin-top:22px;padding-top:12px}figure,pre,tr,.figure{break-inside:avoid}h2,h3{break-after:avoid}
details::details-content{content-visibility:visible;display:block}figure.table{overflow:visible}th,td{padding-left:12px;font-size:10.5px}.grid{grid-template-columns:1fr 1fr;gap:0 20px}@page{margin:14mm}}
`
