package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// A peer has the same colour in all plots; ae the one that stands out.
var colors = map[string]color.RGBA{
	ours:     {0xc0, 0x39, 0x2b, 0xff},
	oursKV:   {0xe5, 0x98, 0x66, 0xff},
	epoll:    {0x2c, 0x3e, 0x50, 0xff},
	threaded: {0x85, 0x92, 0x9e, 0xff},
	libevent: {0x29, 0x80, 0xb9, 0xff},
	libev:    {0x7f, 0xb3, 0xd5, 0xff},
	libuv:    {0x16, 0xa0, 0x85, 0xff},
	goNet:    {0x8e, 0x44, 0xad, 0xff}, goNet4K: {0x8e, 0x44, 0xad, 0xff},
	goTimer: {0x8e, 0x44, 0xad, 0xff}, afterFunc: {0x8e, 0x44, 0xad, 0xff}, channel: {0x8e, 0x44, 0xad, 0xff},
	goHeap: {0xd2, 0xb4, 0xde, 0xff}, buffered: {0xd2, 0xb4, 0xde, 0xff},
	redis:     {0x7f, 0x8c, 0x8d, 0xff},
	memcached: {0xbf, 0xc9, 0xca, 0xff},
}

func (b *bench) plots(dir string, rows []row) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, r := range rows {
		for _, t := range r.tables {
			if t.plot == "" || len(b.subjects(r.name, t)) == 0 {
				continue
			}
			if err := b.bars(filepath.Join(dir, t.plot+".svg"), r, t); err != nil {
				return fmt.Errorf("plot %s: %w", t.plot, err)
			}
		}
	}
	return nil
}

// bars draws a table: a group of bars for each subject, one for each peer.
func (b *bench) bars(path string, r row, t table) error {
	subjects, peers := b.subjects(r.name, t), b.columns(r.name, t)
	axis := b.axis(r, t)
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: %s", r.title, t.title)
	p.Y.Label.Text = t.unit
	p.Legend.Top, p.Legend.Left = true, true // icons before the text, so that a wider font does no harm
	p.Legend.XOffs, p.Legend.ThumbnailWidth = vg.Points(490), vg.Points(10)
	p.Legend.TextStyle.Font.Size = 10
	p.BackgroundColor = color.White

	const forAll = 420 // points, for bars and the space between groups
	width := vg.Points(min(16, forAll/float64(len(subjects)*(len(peers)+1))))
	for i, peer := range peers {
		heights := make(plotter.Values, len(subjects))
		for j, subject := range subjects {
			heights[j] = axis.height(b.figure(r.name, subject, peer, t.metric).median())
		}
		bar, err := plotter.NewBarChart(heights, width)
		if err != nil {
			return err
		}
		bar.Color = colors[peer]
		bar.LineStyle.Width = 0
		bar.Offset = width * vg.Length(float64(i)-float64(len(peers)-1)/2)
		p.Add(bar)
		p.Legend.Add(peer, bar)
	}

	if t.log {
		p.Y.Tick.Marker = axis
	}
	p.NominalX(subjects...)
	p.X.Tick.Label.Rotation = math.Pi / 8
	p.X.Tick.Label.XAlign = -1
	p.X.Min, p.X.Max = -0.6, 1.3*float64(len(subjects))-0.4 // the rest is for the legend
	p.Y.Min = 0
	return save(p, path)
}

// save names the fonts that stand in for the one that gonum writes with, and have the same widths.
func save(p *plot.Plot, path string) error {
	svg, err := p.WriterTo(24*vg.Centimeter, 11*vg.Centimeter, "svg")
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if _, err := svg.WriteTo(&text); err != nil {
		return err
	}
	fonts := bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, fonts, 0o644)
}

// axis turns figures into heights. A logarithmic one counts tenfolds from one below the least up, for bars to stand on.
type axis struct {
	log   bool
	least float64 // its exponent
}

func (b *bench) axis(r row, t table) axis {
	least := math.Inf(1)
	for _, res := range b.results {
		if x := res.median(); res.row == r.name && res.metric == t.metric && x > 0 {
			least = min(least, x)
		}
	}
	return axis{t.log, math.Floor(math.Log10(least))}
}

func (a axis) height(x float64) float64 {
	switch {
	case math.IsNaN(x), a.log && x <= 0:
		return 0
	case a.log:
		return math.Log10(x) - a.least
	}
	return x
}

// Ticks labels a logarithmic axis.
func (a axis) Ticks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Ceil(lo); e <= hi; e++ {
		ticks = append(ticks, plot.Tick{Value: e, Label: number(math.Pow(10, e+a.least))})
	}
	return ticks
}
